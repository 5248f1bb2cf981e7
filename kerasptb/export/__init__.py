"""Exports of a trained run for servers, phones and other runtimes, all made from one portable, stateless model."""

from kerasptb.export.litert import export_litert
from kerasptb.export.onnx import export_onnx
from kerasptb.export.saved_model import export_saved_model
from kerasptb.models.portable import ExportError, portable_model

__all__ = ["ExportError", "export_litert", "export_onnx", "export_saved_model", "portable_model"]
