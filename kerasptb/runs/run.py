"""A run, and what one asks of it: its text and its model loaded."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import kerasptb
from kerasptb.arguments import with_changes
from kerasptb.data import UNK, Corpus, Tokenizer
from kerasptb.data.corpus import open_text, read_corpus
from kerasptb.data.sources.raw_corpus import TextSource, is_there
from kerasptb.data.text_format import TextFormat
from kerasptb.runs import files
from kerasptb.runs.damage import RunError, damage
from kerasptb.runs.files import ADAPTATION, HISTORY, METRICS, QUANTIZED, lock_run
from kerasptb.runs.settings import RunSettings

Split = Literal["train", "valid", "test", "all"]
_WAYS = ["continuous cache", "dynamic"]  # to adapt to a text


@dataclasses.dataclass(frozen=True)
class Run:
    """A training's folder.

    Attributes:
        folder: the folder.
        settings: the `RunSettings`.
        vocabulary: the `Tokenizer` that the model was trained with, such as a `Vocabulary` of words.
        made: whether `create_run` has made the folder, which was not there before.
        overrides: what `load_model` takes in place of the run's settings, see `using`.
        with_counts: whether the counts of its training text are used, if it has them.
    """

    folder: Path
    settings: RunSettings
    vocabulary: Tokenizer
    made: bool = False
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    with_counts: bool = True

    @property
    def config(self) -> dict[str, Any]:
        """The settings as config.json holds them, a dict of dicts.

        Its keys are "model" (arguments of `LanguageModel`), "batches", "training", "recipe" (settings of the preset's
        own training), "data" and "versions".
        """
        return self.settings.to_config()

    @property
    def text_format(self) -> TextFormat:
        """How its text was read: a `TextFormat` with the tokenizer."""
        format = self.settings.data.format
        return dataclasses.replace(format, tokens=None, tokenizer=self.vocabulary, vocabulary_size=None, wrapped=None)

    @property
    def metrics(self) -> dict[str, Any]:
        """The results in metrics.json, a dict; empty before the training has ended."""
        path = self.folder / METRICS
        if not path.exists():
            return {}
        with damage(path, "--resume writes it anew."):
            return dict(json.loads(path.read_text(encoding="utf-8")))

    @property
    def history(self) -> list[dict[str, float]]:
        """The epochs so far: a list of dicts with "epoch" (from 1), "perplexity", "val_perplexity" and the rest."""
        path = self.folder / HISTORY
        if not path.exists():
            return []
        with damage(path, "--resume writes it anew."), path.open(newline="", encoding="utf-8") as file:
            return [
                {key: int(value) if key == "epoch" else float(value) for key, value in row.items() if value}
                for row in csv.DictReader(file)
            ]

    def weights_path(self, weights: Literal["best", "last"]) -> Path:
        """Returns the file of the "best" or the "last" weights."""
        quantized = self.folder / QUANTIZED
        return quantized if weights == "best" and quantized.exists() else self.folder / f"{weights}.weights.h5"

    def load_corpus(self, data: Corpus | TextSource | None = None) -> Corpus:
        """Reads a text with the run's vocabulary.

        Args:
            data: what `kerasptb.load_corpus` takes; `None` for the text that the run was trained on.

        Returns:
            A `Corpus`.

        Raises:
            RunError: if the run's own text has changed or moved, and is neither PTB nor the sample.
            DataError, FileNotFoundError: as `kerasptb.load_corpus`.
        """
        if data is None:
            return self._load_own_corpus()
        if isinstance(data, Corpus) and data.vocabulary == self.vocabulary:
            return data
        return self._read(data)

    def _read(self, data, wrapped=None):
        text = self.settings.data
        signs = text.absent_signs or ()
        format = TextFormat(tokenizer=self.vocabulary, keep_lines=text.keep_lines, wrapped=wrapped, absent_signs=signs)
        return read_corpus(open_text(data, format), format)

    def _load_own_corpus(self):
        text = self.settings.data
        place = text.location
        if (self.folder / QUANTIZED).exists():
            raise RunError(
                f"{self.folder} was exported without the text that it was trained on. Name another with --data. (What "
                "adapts to a text is tuned on the run's own, so it needs the run itself.)"
            )
        there = place is not None and is_there(place)
        if there or text.name in ("ptb", "sample"):
            corpus = self._read(place if there else text.name, text.wrapped)
            if corpus.digest == text.digest:
                return corpus
        change = "which holds another text now" if there else "which is no longer there"
        place = "a text that came from no file" if place is None else f"{place}, {change}"
        if text.name == "sample":
            made_by = self.settings.versions.get("python", "another version")
            place = f"the built-in sample of Python {made_by}, whose documentation it is made of"
        raise RunError(f"The run in {self.folder} was trained on {place}. Name the text with --data.")

    def load_model(
        self, batch_size: int | None = None, weights: Literal["best", "last"] = "best", **overrides: Any
    ) -> kerasptb.LanguageModel:
        """Returns the trained model, compiled for evaluation.

        Args:
            batch_size: rows of a training batch; `None` for the run's own. Evaluation takes any batch size.
            weights: "best" for the epoch with the lowest validation perplexity, or "last".
            **overrides: arguments of `LanguageModel` in place of the run's, such as `backend="keras"`.

        Returns:
            A `LanguageModel`.

        Raises:
            RunError: if the run does not have these weights, for example before the end of its first epoch.
        """
        from kerasptb.runs.weights import load_weights  # noqa: PLC0415  (the folder can be read without Keras)

        if weights not in ("best", "last"):
            raise ValueError(f'`weights` must be "best" or "last". Received: weights={weights!r}')
        path = self.weights_path(weights)
        if not path.exists() and (self.folder / QUANTIZED).exists():
            raise RunError(f'{self.folder} was exported with its best weights alone. Received: weights="last"')
        if not path.exists():
            raise RunError(
                f"{self.folder} has no {weights} weights: no epoch has ended there yet. Train it with --resume."
            )
        changes = {**self.overrides, **overrides, **({} if batch_size is None else {"batch_size": batch_size})}
        arguments = with_changes(self.settings.model.as_dict(), changes)
        model = kerasptb.LanguageModel(**arguments, tokenizer=self.text_format)
        load_weights(model, path)
        model.compile()
        return model

    def using(self, counts: bool | None = None, **overrides: Any) -> Run:
        """Returns the run with other settings than its own.

        Args:
            counts: whether the counts of its training text refine what the network says; `None` for as before.
            **overrides: arguments of `LanguageModel`, such as `backend="keras"`.
        """
        counts = self.with_counts if counts is None else counts
        return dataclasses.replace(self, overrides={**self.overrides, **overrides}, with_counts=counts)

    @functools.cached_property
    def model(self) -> kerasptb.LanguageModel:
        """The model of `load_model`, loaded when it is first asked for: what the methods below use."""
        return self.load_model()

    @functools.cached_property
    def reader(self) -> kerasptb.reading.Reader:
        """What reads with the model, and with the counts of the training text if the run has them."""
        return self.counted(kerasptb.reading.open_reader(self.model))

    @functools.cached_property
    def _step_reader(self):
        """What reads a token of many texts faster, where Keras runs on TensorFlow, unless something else is named."""
        import keras  # noqa: PLC0415

        if self.overrides or keras.backend.backend() != "tensorflow":
            return self.reader
        return self.counted(kerasptb.reading.NetworkReader.of(self.model))

    def counted(self, reader: kerasptb.reading.Reader) -> kerasptb.reading.Reader:
        """Returns a reader of the run's network with the words and counts of its training text, if the run has them."""
        from kerasptb.reading.counted_reader import CountedReader  # noqa: PLC0415  (needs Keras)
        from kerasptb.runs.counts import load_counts  # noqa: PLC0415
        from kerasptb.runs.words import load_words  # noqa: PLC0415

        counts = load_counts(self) if self.with_counts else None
        counted = reader if counts is None else CountedReader(reader, counts)
        counted.lexicon = load_words(self)
        return counted

    def count(self, data: Corpus | TextSource | None = None, report: Callable[[str], Any] = print) -> bool:
        """Counts the training text anew, unless its counts do not help on the validation text.

        Args:
            data: what `load_corpus` takes; `None` for the text that the run was trained on.
            report: called with a line of text that says what they are worth.

        Returns:
            Whether the run has counts now.

        Raises:
            RunError: as `load_corpus`, if another training uses the folder, and for "english".
        """
        from kerasptb.runs.counts import make_counts  # noqa: PLC0415  (needs Keras)

        if self.folder == files.IN_THE_PACKAGE:
            raise RunError(
                "The model in the package keeps no text. Count with a copy: "
                f"kerasptb export {files.ENGLISH} --format run --to FOLDER"
            )
        corpus, network = self.load_corpus(data), kerasptb.reading.open_reader(self.model)
        with lock_run(self.folder):
            return make_counts(self, network, corpus, report) is not None

    def suggest(self, text: str, k: int | None = None, **settings: Any) -> list[kerasptb.reading.Suggestion]:
        """Returns the most probable next words after a text.

        Args:
            text: the text so far.
            k: number of words; `None` for 5, or as many as there are.
            **settings: further arguments of `reading.suggest`, such as `complete=True`.

        Returns:
            List of `reading.Suggestion`.
        """
        k = min(5, len(set(self.vocabulary.tokens) - {UNK})) if k is None else k
        return kerasptb.suggest(self.reader, text, k, **settings)

    def correct(self, text: str, **settings: Any) -> list[kerasptb.reading.Correction]:
        """Returns what is likely to be wrong in a text, as `reading.correct`.

        Args:
            text: any text.
            **settings: further arguments of `reading.correct`, such as `channel="ocr"`.

        Returns:
            List of `reading.Correction`.
        """
        return [each for _, corrections in self.correct_parts(text, **settings) for each in corrections]

    def correct_parts(self, text: str, **settings: Any) -> Iterator[tuple[int, list[kerasptb.reading.Correction]]]:
        """Yields what `correct` returns in parts of the text: where each ends, and its corrections."""
        return kerasptb.reading.correct_parts(self._step_reader, text, **settings)

    def generate(self, prompt: str = "", words: int = 50, **settings: Any) -> str:
        """Returns a text that goes on with words sampled from the model.

        Args:
            prompt: its beginning.
            words: number of words after that.
            **settings: further arguments of `reading.generate_text`, such as `temperature=0.8`.
        """
        return kerasptb.reading.generate_text(self.reader, prompt, words, **settings)

    def score(self, sentences: str | Iterable[str], entropy: bool = False) -> list[kerasptb.evaluation.SentenceScore]:
        """Returns what the model says of sentences, or of one, as `evaluation.score_sentences`."""
        return list(kerasptb.evaluation.score_sentences(self.reader, sentences, entropy))

    def score_document(self, text: str, entropy: bool = False) -> list[kerasptb.evaluation.SentenceScore]:
        """Returns what the model says of the paragraphs of a text, as `evaluation.score_document`."""
        return list(kerasptb.evaluation.score_document(self.reader, text, entropy))

    def evaluate(
        self,
        data: Corpus | TextSource | None = None,
        split: Split = "test",
        adapt: Literal["dynamic", "continuous cache"] | None = None,
        batch_size: int = 1,
        num_steps: int | None = None,
        report: Callable[[str], Any] = print,
    ) -> kerasptb.evaluation.TextEvaluation:
        """Measures the network alone on a text; at batch size 1 each word after all before it.

        Args:
            data: what `load_corpus` takes; `None` for the text that the run was trained on.
            split: which part of it.
            adapt: how the model adapts to the text meanwhile, see docs/evaluation.md; `None` for not at all.
            batch_size: number of streams that the text is read as, each from a zero state.
            num_steps: words of a row; with "dynamic" those of a segment. `None` for what suits the way.
            report: called with a line of text before settings of `adapt` are tuned.

        Returns:
            A `TextEvaluation`.

        Raises:
            ValueError: for another way to adapt, or for several streams with one.
        """
        if adapt not in (None, *_WAYS):
            raise ValueError(f"Expected a way to adapt among {_WAYS}, or None. Received: adapt={adapt!r}")
        if adapt is not None and batch_size != 1:
            raise ValueError(f"A model adapts to one stream: expected a batch size of 1. Received: {batch_size}")
        corpus, evaluation = self.load_corpus(data), kerasptb.evaluation
        ids, counts = corpus.split(split), corpus.count(split)
        if adapt is None:
            found = evaluation.evaluate_split(self.model, ids, batch_size, num_steps, every_word=batch_size == 1)
        else:
            found = self._adaptation(corpus, report).evaluate(adapt, ids, num_steps)
        return evaluation.TextEvaluation.of(found, counts)

    def evaluate_keyboard(
        self,
        data: Corpus | TextSource | None = None,
        split: Split = "test",
        text: str | None = None,
        keys: int = 3,
        learn: bool = False,
        continuous_cache: bool = False,
        report: Callable[[str], Any] = print,
    ) -> kerasptb.evaluation.KeyboardEvaluation:
        """Types a text with the model's suggestions, see `evaluation.evaluate_keyboard`.

        Args:
            data: as for `evaluate`, like `split` and `report`.
            split: which part of it.
            text: a text as a person wrote it, in place of both.
            keys: number of words shown at a time.
            learn: whether the suggestions learn from the words typed before.
            continuous_cache: whether words become more probable that came before in a state like the present one.
            report: called before the settings of the cache are tuned.

        Returns:
            A `KeyboardEvaluation`.

        Raises:
            ValueError: for a continuous cache with `text` or `learn`, or for a model that is not of words.
        """
        evaluation, cache = kerasptb.evaluation, None
        if continuous_cache and (learn or text is not None):  # before the cache is tuned
            other = "learn" if text is None else "text"
            raise ValueError(f"Expected `continuous_cache` or `{other}`. Received: both.")
        if text is not None:
            return evaluation.evaluate_keyboard(self.reader, text, keys, learn=learn)
        corpus = self.load_corpus(data)
        if continuous_cache:
            evaluation.check_cached(self.vocabulary)
            cache = self._adaptation(corpus, report).cache_settings()
        # A cache goes by the network's states alone.
        reader = self.reader if cache is None else self.model
        return evaluation.evaluate_keyboard(reader, corpus.split(split), keys, cache=cache, learn=learn)

    def evaluate_typos(
        self,
        data: Corpus | TextSource | None = None,
        split: Split = "test",
        text: str | None = None,
        **options: Any,
    ) -> kerasptb.evaluation.TypingEvaluation:
        """Types a text with errors, and corrects it, see `evaluation.evaluate_typos`.

        Args:
            data: as for `evaluate`, like `split`.
            split: which part of it.
            text: a text as a person wrote it, in place of both.
            **options: further arguments of `evaluation.evaluate_typos`, such as `rate=0.069`.

        Returns:
            A `TypingEvaluation`.
        """
        typed = self.load_corpus(data).split(split) if text is None else text
        return kerasptb.evaluation.evaluate_typos(self.reader, typed, **options)

    def evaluate_counts(
        self,
        data: Corpus | TextSource | None = None,
        split: Split = "test",
        adapted: kerasptb.evaluation.AdaptedEvaluation | None = None,
    ) -> tuple[kerasptb.evaluation.TextEvaluation, kerasptb.evaluation.TextEvaluation] | None:
        """Measures the model with the counts of its training text, and with those of the text before too.

        Args:
            data: as for `evaluate`, like `split`.
            split: which part of it.
            adapted: how a network that adapts read the same text, which the counts refine; `None` for none.

        Returns:
            with_counts, going_on: a `TextEvaluation` each; `None` for a run without counts.
        """
        from kerasptb.reading.counted_reader import CountedReader  # noqa: PLC0415  (needs Keras)

        if not isinstance(self.reader, CountedReader):
            return None
        corpus = self.load_corpus(data)
        of_network = None if adapted is None else adapted.log_probabilities
        evaluation, sizes = kerasptb.evaluation, corpus.count(split)
        with_counts, going_on = evaluation.evaluate_counts(self.reader, corpus.split(split), of_network)
        return evaluation.TextEvaluation.of(with_counts, sizes), evaluation.TextEvaluation.of(going_on, sizes)

    def _adaptation(self, corpus, report):
        """Returns how the model adapts, tuned on the text that the run was trained on: the corpus, if it is that."""
        from kerasptb.evaluation.adaptation import Adaptation  # noqa: PLC0415  (needs Keras)

        own = corpus if corpus.digest == self.settings.data.digest else self.load_corpus()
        return Adaptation(self.folder / ADAPTATION, self.model, own, report)
