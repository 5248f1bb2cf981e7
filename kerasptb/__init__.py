"""The Penn Treebank language-model pipeline for Keras.

```python
import kerasptb

corpus = kerasptb.load_corpus("auto")
model = kerasptb.LanguageModel.from_preset("notebook", vocabulary_size=len(corpus.vocabulary))
model.compile()
model.fit(kerasptb.make_dataset(corpus.train, batch_size=60, num_steps=20), epochs=15)
```
"""

import importlib

from kerasptb.utils.registration import register_with_keras

__version__ = "0.1.0"

# The module of each public name. Names are imported when they are first used: TensorFlow takes seconds to import, and
# reading a corpus or printing the command line's help does not need it.
_MODULES = {
    "Corpus": "kerasptb.data",
    "DataError": "kerasptb.data",
    "LanguageModel": "kerasptb.models",
    "NativeUnavailableError": "kerasptb.ops.native",
    "Run": "kerasptb.runs",
    "RunError": "kerasptb.runs",
    "TrainingDivergedError": "kerasptb.callbacks",
    "Vocabulary": "kerasptb.data",
    "build_language_model": "kerasptb.models",
    "evaluate_perplexity": "kerasptb.evaluation",
    "explain": "kerasptb.explanation",
    "export_litert": "kerasptb.export",
    "export_onnx": "kerasptb.export",
    "export_saved_model": "kerasptb.export",
    "generate": "kerasptb.generation",
    "load_corpus": "kerasptb.data",
    "load_run": "kerasptb.runs",
    "load_tf1_checkpoint": "kerasptb.models",
    "make_dataset": "kerasptb.data",
    "ptb_iterator": "kerasptb.data",
    "ptb_raw_data": "kerasptb.data",
    "suggest": "kerasptb.generation",
    "train": "kerasptb.training",
}
_SUBPACKAGES = (
    "callbacks", "data", "evaluation", "export", "generation", "layers", "losses", "metrics", "models", "ops",
    "optimizers", "presets", "regularizers", "runs", "training",
)  # fmt: skip

__all__ = [*sorted(_MODULES), *_SUBPACKAGES]  # noqa: PLE0604  (all are strings)


register_with_keras()


def __getattr__(name):
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"kerasptb.{name}")
    raise AttributeError(f"module 'kerasptb' has no attribute {name!r}")


def __dir__():
    return [*globals(), *__all__]
