from .channel import Channel as Channel
from .channel import Confusions as Confusions
from .channel import Errors as Errors
from .channel import Keyboard as Keyboard
from .channel import Taps as Taps
from .channel import Writing as Writing
from .channel import open_channel as open_channel
from .correction import Correction as Correction
from .correction import apply_corrections as apply_corrections
from .correction import correct as correct
from .correction import correct_parts as correct_parts
from .layout import Layout as Layout
from .layout import load_layout as load_layout
from .measure.savings import KeyboardEvaluation as KeyboardEvaluation
from .measure.savings import Typist as Typist
from .measure.savings import check_cached as check_cached
from .measure.savings import evaluate_keyboard as evaluate_keyboard
from .measure.simulator import Simulator as Simulator
from .measure.typos import TypingEvaluation as TypingEvaluation
from .measure.typos import evaluate_typos as evaluate_typos
from .memory import Memory as Memory
from .suggestion import suggest as suggest
from .tapped import Readings as Readings
from .tapped import search_taps as search_taps
from .writer import Writer as Writer

__all__: list[str]
