"""The public names; the package imports each from here when it is first used (see SPEC 1 of Scientific Python)."""

from . import callbacks as callbacks
from . import conversion as conversion
from . import data as data
from . import dynamic_evaluation as dynamic_evaluation
from . import engine as engine
from . import evaluation as evaluation
from . import export as export
from . import keyboard as keyboard
from . import layers as layers
from . import losses as losses
from . import metrics as metrics
from . import models as models
from . import ops as ops
from . import optimizers as optimizers
from . import presets as presets
from . import reading as reading
from . import regularizers as regularizers
from . import runs as runs
from . import training as training
from . import tuning as tuning
from .acceleration import accelerate as accelerate
from .callbacks import TrainingDivergedError as TrainingDivergedError
from .conversion import export_litert as export_litert
from .conversion import export_onnx as export_onnx
from .conversion import export_saved_model as export_saved_model
from .conversion import export_sherpa_onnx as export_sherpa_onnx
from .data import Corpus as Corpus
from .data import DataError as DataError
from .data import Vocabulary as Vocabulary
from .data import load_corpus as load_corpus
from .data import ptb_iterator as ptb_iterator
from .data import ptb_raw_data as ptb_raw_data
from .explanation import explain as explain
from .export import export_arpa as export_arpa
from .export import export_c as export_c
from .export import export_keyboard as export_keyboard
from .export import export_page as export_page
from .export import export_run as export_run
from .keyboard import correct as correct
from .keyboard import suggest as suggest
from .models import LanguageModel as LanguageModel
from .models import build_language_model as build_language_model
from .models import evaluate_perplexity as evaluate_perplexity
from .native import NativeUnavailableError as NativeUnavailableError
from .pipeline import make_dataset as make_dataset
from .reading import generate as generate
from .reading import load_saved_model as load_saved_model
from .run import Run as Run
from .run import load_run as load_run
from .runs import RunError as RunError
from .runs import load_reader as load_reader
from .training import train as train

__version__: str
__all__: list[str]
