"""Models."""

import lazy_loader

# __init__.pyi has the public names, of which `load_tf1_checkpoint` needs TensorFlow.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

del lazy_loader
