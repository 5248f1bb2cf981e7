"""Models."""

from kerasptb.models.language_model import LanguageModel, build_language_model

__all__ = ["LanguageModel", "build_language_model", "load_tf1_checkpoint"]


def __getattr__(name):
    if name == "load_tf1_checkpoint":  # needs TensorFlow, the models do not
        from kerasptb.models.tf1_checkpoint import load_tf1_checkpoint  # noqa: PLC0415

        return load_tf1_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
