"""A trained model in the formats of TensorFlow and ONNX. For ONNX the package onnx is enough."""

import lazy_loader

# Names are imported when they are first used: TensorFlow takes seconds to import.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

del lazy_loader
