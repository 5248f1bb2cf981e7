"""What models have for exports, under its public names."""

from kerasptb.models.portable import ExportError, portable_model

__all__ = ["ExportError", "portable_model"]
