from .arpa import export_arpa as export_arpa
from .c import export_c as export_c
from .keyboard import export_keyboard as export_keyboard
from .page import export_page as export_page
from .run import export_run as export_run

__all__: list[str]
