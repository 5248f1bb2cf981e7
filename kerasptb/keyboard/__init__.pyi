from .channel import Confusions as Confusions
from .channel import Errors as Errors
from .channel import Keyboard as Keyboard
from .correction import Correction as Correction
from .correction import apply_corrections as apply_corrections
from .correction import correct as correct
from .layout import Layout as Layout
from .layout import load_layout as load_layout
from .measure.savings import KeyboardEvaluation as KeyboardEvaluation
from .measure.savings import Typist as Typist
from .measure.savings import evaluate_keyboard as evaluate_keyboard
from .measure.simulator import Simulator as Simulator
from .measure.typos import TypingEvaluation as TypingEvaluation
from .measure.typos import evaluate_typos as evaluate_typos
from .memory import Memory as Memory
from .suggestion import suggest as suggest
from .writer import Writer as Writer

__all__: list[str]
