"""The keyboard page and its JSON API, on an exported model. Needs the extra `serve`."""

from kerasptb.serving.server import ServingError, serve

__all__ = ["ServingError", "serve"]
