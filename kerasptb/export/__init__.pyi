from .arpa import export_arpa as export_arpa
from .c import export_c as export_c
from .keyboard import export_keyboard as export_keyboard
from .litert import export_litert as export_litert
from .onnx import export_onnx as export_onnx
from .page import export_page as export_page
from .portable import ExportError as ExportError
from .portable import portable_model as portable_model
from .run import export_run as export_run
from .saved_model import export_saved_model as export_saved_model
from .sherpa_onnx import export_sherpa_onnx as export_sherpa_onnx

__all__: list[str]
