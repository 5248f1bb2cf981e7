from .frozen import freeze as freeze
from .litert import export_litert as export_litert
from .onnx import export_onnx as export_onnx
from .saved_model import export_saved_model as export_saved_model
from .sherpa_onnx import export_sherpa_onnx as export_sherpa_onnx

__all__: list[str]
