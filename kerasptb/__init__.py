"""The Penn Treebank language-model pipeline for Keras.

```python
import kerasptb

corpus = kerasptb.load_corpus("auto")
model = kerasptb.LanguageModel.from_preset("notebook", tokenizer=corpus.vocabulary)
model.compile()
model.fit(kerasptb.make_dataset(corpus.train, batch_size=60, num_steps=20), epochs=15)
```
"""

import lazy_loader

from kerasptb.utils.registration import register_with_keras

__version__ = "0.1.0"

# __init__.pyi has the public names, for editors too. They are imported when they are first used: TensorFlow takes
# seconds to import, and reading a corpus or printing the command line's help does not need it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_with_keras()

del lazy_loader, register_with_keras  # editors would offer them
