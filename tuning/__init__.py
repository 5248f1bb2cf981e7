"""Searches for better models with KerasTuner, on one machine or many.

```python
import tuning

if __name__ == "__main__":  # workers are processes that import this script
    space = tuning.LanguageModelSpace(num_layers=1, keep_prob=(0.6, 0.9))
    result = tuning.tune("ptb", space, trials=20, workers=2, max_hours=4, out="runs/search")
    print(result.trials[0].score, result.run.folder)
```
"""

import importlib

# The module of each public name. It is imported when the name is first used: chief and workers all import this package,
# and KerasTuner and TensorFlow take seconds to import.
_MODULES = {
    "LanguageModelSpace": "tuning.search_space",
    "SearchError": "tuning.search",
    "SearchResult": "tuning.search",
    "WorkersFailedError": "tuning.workers",
    "tune": "tuning.search",
}

__all__ = ["LanguageModelSpace", "SearchError", "SearchResult", "WorkersFailedError", "tune"]


def __getattr__(name):
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'tuning' has no attribute {name!r}")


def __dir__():
    return [*globals(), *__all__]
