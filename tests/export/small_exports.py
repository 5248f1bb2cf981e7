"""Small models and their exports: fixtures of several folders."""

import re
import shutil
from pathlib import Path

from shared import shared

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")

WORDS = (
    "the <unk> N <eos> of to a in and 's that for $ is it said on n't by at as with mr. ca do does company market "
    "U.S. year share % well-known café 日本 3 we 're they 'll i 'd been cat dog sat mat over quick brown fox jumps lazy"
)


@shared
def targets():
    """Of each format the path in its command in docs/export.md."""
    return dict(re.findall(r"kerasptb export RUN --format (\S+) --to ([^\s`]+)", PAGE))


@shared
def vocabulary():
    from kerasptb.data import Vocabulary

    return Vocabulary(WORDS.split())


@shared
def model(vocabulary):
    """A model of two layers whose probabilities are far from even, so that a wrong word shows."""
    from kerasptb.models import LanguageModel

    model = LanguageModel(
        len(vocabulary),
        8,
        (11, 9),
        batch_size=3,
        num_steps=5,
        init_scale=1.0,
        keep_prob=0.5,
        seed=4,
        tokenizer=vocabulary,
    )
    model.compile()
    return model


@shared
def saved_model(model, vocabulary, tmp_path_factory):
    """The folder of the model as a SavedModel."""
    from kerasptb.conversion import export_saved_model

    return export_saved_model(model, tmp_path_factory.mktemp("exports") / "saved_model")


@shared
def loaded(saved_model, tmp_path_factory):
    """The SavedModel, from another place than where it was written."""
    import tensorflow as tf

    return tf.saved_model.load(str(shutil.copytree(saved_model, tmp_path_factory.mktemp("moved") / "elsewhere")))


@shared
def subwords():
    """Fewer than 300 subwords."""
    from kerasptb.data import Subwords

    text = ["Once upon a time the cat sat on the mat.", "Upon the mat the cat sat; the time ran. Once!"]
    return Subwords.train(text * 2, 300)


@shared
def subword_model(subwords):
    """A model of one layer, whose probabilities are far from even."""
    from kerasptb.models import LanguageModel

    model = LanguageModel(len(subwords), 8, 9, batch_size=3, num_steps=5, init_scale=1.0, seed=4, tokenizer=subwords)
    model.compile()
    return model


@shared
def subword_exports(subword_model, subwords, tmp_path_factory):
    """A folder with the model of subwords as docs/export.md names it."""
    from kerasptb.conversion import export_litert, export_saved_model

    folder = tmp_path_factory.mktemp("subwords")
    export_saved_model(subword_model, folder / "models" / "novel" / "1")
    export_litert(subword_model, folder / "novel.tflite")
    return folder
