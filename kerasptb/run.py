"""A run, and what one asks of it: a face over what runs a model, and, for the model in Keras, over what trains it."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from kerasptb import evaluation, keyboard, reading
from kerasptb.data import UNK, Corpus
from kerasptb.data.sources.source import TextSource
from kerasptb.evaluation.adaptation import KeptSettings
from kerasptb.evaluation.counted_perplexity import evaluate_counts
from kerasptb.keyboard.correction import correct_parts
from kerasptb.keyboard.measure.savings import check_cached
from kerasptb.runs import files
from kerasptb.runs.counted_text import make_counts
from kerasptb.runs.damage import RunError
from kerasptb.runs.files import ADAPTATION, lock_run
from kerasptb.runs.folder import RunFolder

if TYPE_CHECKING:
    from kerasptb.models import LanguageModel

Split = Literal["train", "valid", "test", "all"]
_WAYS = ["continuous cache", "dynamic"]  # to adapt to a text


class Run(RunFolder):
    """A training's folder, and what one asks of it; see `RunFolder` for its attributes."""

    def load_model(
        self, batch_size: int | None = None, weights: Literal["best", "last"] = "best", **overrides: Any
    ) -> LanguageModel:
        """Returns the trained model in Keras, compiled for evaluation.

        Args:
            batch_size: rows of a training batch; `None` for the run's own. Evaluation takes any batch size.
            weights: "best" for the epoch with the lowest validation perplexity, or "last".
            **overrides: arguments of `LanguageModel` in place of the run's, such as `backend="keras"`.

        Returns:
            A `LanguageModel`.

        Raises:
            RunError: if the run does not have these weights, for example before the end of its first epoch.
        """
        from kerasptb.models.language_model import LanguageModel, trained_model  # noqa: PLC0415  (needs Keras)

        changes = {**self.overrides, **overrides, **({} if batch_size is None else {"batch_size": batch_size})}
        return trained_model(LanguageModel, self, self.find_weights(weights), changes)

    @functools.cached_property
    def model(self) -> LanguageModel:
        """The model of `load_model`, loaded when it is first asked for."""
        return self.load_model()

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
        if self.folder == files.IN_THE_PACKAGE:
            raise RunError(
                "The model in the package keeps no text. Count with a copy: "
                f"kerasptb export {files.ENGLISH} --format run --to FOLDER"
            )
        corpus = self.load_corpus(data)
        with lock_run(self.folder):
            return make_counts(self, self.network, corpus, report) is not None

    def suggest(self, text: str, k: int | None = None, **settings: Any) -> list[reading.Suggestion]:
        """Returns the most probable next words after a text.

        Args:
            text: the text so far.
            k: number of words; `None` for 5, or as many as there are.
            **settings: further arguments of `kerasptb.suggest`, such as `complete=True`.

        Returns:
            List of `reading.Suggestion`.
        """
        k = min(5, len(set(self.vocabulary.tokens) - {UNK})) if k is None else k
        return keyboard.suggest(self.reader, text, k, **settings)

    def correct(self, text: str, **settings: Any) -> list[keyboard.Correction]:
        """Returns what is likely to be wrong in a text, as `keyboard.correct`.

        Args:
            text: any text.
            **settings: further arguments of `keyboard.correct`, such as `channel="ocr"`.

        Returns:
            List of `keyboard.Correction`.
        """
        return [each for _, corrections in self.correct_parts(text, **settings) for each in corrections]

    def correct_parts(self, text: str, **settings: Any) -> Iterator[tuple[int, list[keyboard.Correction]]]:
        """Yields what `correct` returns in parts of the text: where each ends, and its corrections."""
        return correct_parts(self.reader, text, **settings)

    def generate(self, prompt: str = "", words: int = 50, **settings: Any) -> str:
        """Returns a text that goes on with words sampled from the model.

        Args:
            prompt: its beginning.
            words: number of words after that.
            **settings: further arguments of `reading.generate_text`, such as `temperature=0.8`.
        """
        return reading.generate_text(self.reader, prompt, words, **settings)

    def score(self, sentences: str | Iterable[str], entropy: bool = False) -> list[evaluation.SentenceScore]:
        """Returns what the model says of sentences, or of one, as `evaluation.score_sentences`."""
        return list(evaluation.score_sentences(self.reader, sentences, entropy))

    def score_document(self, text: str, entropy: bool = False) -> list[evaluation.SentenceScore]:
        """Returns what the model says of the paragraphs of a text, as `evaluation.score_document`."""
        return list(evaluation.score_document(self.reader, text, entropy))

    def evaluate_pairs(
        self,
        pairs: Iterable[evaluation.MinimalPair | str | os.PathLike[str]],
        progress: Callable[[int, int], Any] | None = None,
    ) -> evaluation.PairsEvaluation:
        """Measures how often the model finds the good sentence of a pair the likelier, see `evaluation.evaluate_pairs`.

        Args:
            pairs: `evaluation.MinimalPair`s, or files of them, as `evaluation.read_pairs` takes them.
            progress: called now and then with the number of pairs that are done, and of all.

        Raises:
            DataError: a file has no pairs.
        """
        read = ([each] if isinstance(each, evaluation.MinimalPair) else evaluation.read_pairs(each) for each in pairs)
        return evaluation.evaluate_pairs(self.reader, itertools.chain.from_iterable(read), progress)

    def evaluate(
        self,
        data: Corpus | TextSource | None = None,
        split: Split = "test",
        adapt: Literal["dynamic", "continuous cache"] | None = None,
        batch_size: int = 1,
        num_steps: int | None = None,
        report: Callable[[str], Any] = print,
    ) -> evaluation.TextEvaluation:
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
        corpus = self.load_corpus(data)
        ids = corpus.split(split)
        if adapt == "dynamic":
            from kerasptb.dynamic_evaluation import evaluate_tuned  # noqa: PLC0415  (needs TensorFlow)

            own, kept = self._kept(corpus, report)
            found = evaluate_tuned(self.model, ids, own, kept, num_steps)
        elif adapt is not None:
            found = evaluation.evaluate_continuous_cache(
                self.network, ids, self._tuned_cache(corpus, report), num_steps
            )
        else:
            rows = num_steps or (self.settings.model.num_steps if batch_size > 1 else None)
            found = evaluation.evaluate_text(self.network, ids, batch_size, rows, every_word=batch_size == 1)
        return evaluation.TextEvaluation.of(found, corpus.count(split))

    def evaluate_keyboard(
        self,
        data: Corpus | TextSource | None = None,
        split: Split = "test",
        text: str | None = None,
        keys: int = 3,
        learn: bool = False,
        continuous_cache: bool = False,
        report: Callable[[str], Any] = print,
    ) -> keyboard.KeyboardEvaluation:
        """Types a text with the model's suggestions, see `keyboard.evaluate_keyboard`.

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
        cache = None
        if continuous_cache and (learn or text is not None):  # before the cache is tuned
            other = "learn" if text is None else "text"
            raise ValueError(f"Expected `continuous_cache` or `{other}`. Received: both.")
        if text is not None:
            return keyboard.evaluate_keyboard(self.reader, text, keys, learn=learn)
        corpus = self.load_corpus(data)
        if continuous_cache:
            check_cached(self.vocabulary)
            cache = self._tuned_cache(corpus, report)
        # A cache goes by the network's states alone.
        reader = self.reader if cache is None else self.network
        return keyboard.evaluate_keyboard(reader, corpus.split(split), keys, cache=cache, learn=learn)

    def evaluate_typos(
        self, data: Corpus | TextSource | None = None, split: Split = "test", text: str | None = None, **options: Any
    ) -> keyboard.TypingEvaluation:
        """Types a text with errors, and corrects it, see `keyboard.evaluate_typos`.

        Args:
            data: as for `evaluate`, like `split`.
            split: which part of it.
            text: a text as a person wrote it, in place of both.
            **options: further arguments of `keyboard.evaluate_typos`, such as `rate=0.069`.

        Returns:
            A `TypingEvaluation`.
        """
        typed = self.load_corpus(data).split(split) if text is None else text
        return keyboard.evaluate_typos(self.reader, typed, **options)

    def evaluate_counts(
        self,
        data: Corpus | TextSource | None = None,
        split: Split = "test",
        adapted: evaluation.AdaptedEvaluation | None = None,
    ) -> tuple[evaluation.TextEvaluation, evaluation.TextEvaluation] | None:
        """Measures the model with the counts of its training text, and with those of the text before too.

        Args:
            data: as for `evaluate`, like `split`.
            split: which part of it.
            adapted: how a network that adapts read the same text, which the counts refine; `None` for none.

        Returns:
            with_counts, going_on: a `TextEvaluation` each; `None` for a run without counts.
        """
        if not isinstance(self.reader, reading.CountedReader):
            return None
        corpus = self.load_corpus(data)
        of_network = None if adapted is None else adapted.log_probabilities
        sizes = corpus.count(split)
        with_counts, going_on = evaluate_counts(self.reader, corpus.split(split), of_network)
        return evaluation.TextEvaluation.of(with_counts, sizes), evaluation.TextEvaluation.of(going_on, sizes)

    def _tuned_cache(self, corpus: Corpus, report: Callable[[str], Any]) -> evaluation.CacheSettings:
        """Returns the settings of the continuous cache, tuned on the text that the run was trained on."""
        own, kept = self._kept(corpus, report)
        return kept.settings(
            "continuous_cache",
            evaluation.CacheSettings,
            lambda: evaluation.tune_continuous_cache(self.network, own.valid),
        )

    def _kept(self, corpus: Corpus, report: Callable[[str], Any]) -> tuple[Corpus, KeptSettings]:
        """Returns the text that the run was trained on, the corpus if it is that, and the settings tuned on it."""
        own = corpus if corpus.digest == self.settings.data.digest else self.load_corpus()
        path, weights = self.folder / ADAPTATION, self.network.network.weights
        return own, KeptSettings(path, weights, own.digest, report)


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Opens a run folder.

    Args:
        folder: the folder that a training wrote; or "english", for the model of English in this package, unless a run
            is in a folder of that name.

    Raises:
        RunError: if the folder is not a run.
    """
    return Run.open(folder)
