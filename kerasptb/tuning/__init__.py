"""Searches for better models with KerasTuner, on one machine or many.

```python
from kerasptb import tuning

if __name__ == "__main__":  # workers are processes that import this script
    space = tuning.LanguageModelSpace(num_layers=1, keep_prob=(0.6, 0.9))
    result = tuning.tune("ptb", space, trials=20, workers=2, max_hours=4, out="runs/search")
    print(result.trials[0].score, result.run.folder)
```
"""

import importlib
import sys

import lazy_loader

# __init__.pyi has the public names, for editors too. They are imported when they are first used: chief and workers
# all import this package, and KerasTuner and TensorFlow take seconds to import.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

if __name__ == "tuning":  # found in the folder of a checkout; a second copy's classes would be others
    sys.modules[__name__] = importlib.import_module("kerasptb.tuning")

del importlib, lazy_loader, sys  # editors would offer them
