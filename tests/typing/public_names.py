"""What a type checker knows of the public names, as a user has them. `make lint` checks it, and nothing runs it."""

from pathlib import Path
from typing import assert_type

import numpy as np

import kerasptb
from kerasptb.presets import Recipe
from kerasptb.serving import serve


def a_script(folder: Path) -> None:
    """Trains, loads, measures, suggests and exports."""
    run = kerasptb.train("sample", "notebook", epochs=1, units=[64, 32], backend="auto", seed=1)
    assert_type(run, kerasptb.Run)
    assert_type(run.history, list[dict[str, float]])
    model = kerasptb.load_run(folder).load_model(backend="keras")
    assert_type(model, kerasptb.LanguageModel)
    assert_type(model.units, tuple[int, ...])
    assert_type(kerasptb.LanguageModel.from_preset("notebook", batch_size=1), kerasptb.LanguageModel)
    corpus = kerasptb.load_corpus("ptb")
    assert_type(corpus, kerasptb.Corpus)
    assert_type(corpus.train, np.ndarray)
    assert_type(corpus.vocabulary, kerasptb.data.Tokenizer)
    assert_type(kerasptb.evaluate_perplexity(model, corpus.test, num_steps=20), float)
    assert_type(kerasptb.suggest(model, "the")[0], kerasptb.reading.Suggestion)
    assert_type(kerasptb.correct(model, "the"), list[kerasptb.keyboard.Correction])
    assert_type(kerasptb.generate(model, top_k=10), list[str])
    assert_type(kerasptb.explain(model)[0].reason, str | None)
    assert_type(kerasptb.export_onnx(run, folder / "model.onnx"), Path)
    assert_type(kerasptb.presets.get_preset("small"), Recipe)
    assert_type(kerasptb.layers.FusedLSTM(4).plan((2, 5, 3)).is_native, bool)
    assert_type(kerasptb.callbacks.Checkpoint(folder).history, list[dict[str, float]])
    assert_type(kerasptb.tuning.tune("ptb", trials=3), kerasptb.tuning.SearchResult | None)
    serve(folder, port=0)


def mistakes(model: kerasptb.LanguageModel, vocabulary: kerasptb.Vocabulary) -> None:
    """Each line is an error: without one, the comment that expects it would be."""
    kerasptb.train("sample", backend="fast")  # type: ignore[arg-type]
    kerasptb.train("sample", epoch=3)  # type: ignore[call-arg]
    kerasptb.LanguageModel.from_preset("notebook", batch=1)  # type: ignore[call-arg]
    kerasptb.LanguageModel.from_preset("notebook", batch_size="1")  # type: ignore[arg-type]
    kerasptb.suggest(model, vocabulary)  # type: ignore[arg-type]
    kerasptb.layers.Dense("10")  # type: ignore[arg-type]
    kerasptb.load_corpus("ptb").vocab  # type: ignore[attr-defined]  # noqa: B018
    model.fit(epoch=3, callbacks=1)  # type: ignore[arg-type]
    kerasptb.ops.lstm(backend="fast")  # type: ignore[arg-type, call-arg]
