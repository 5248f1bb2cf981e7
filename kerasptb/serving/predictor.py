"""An exported model as functions of arrays: they read words and return the distribution of the next word."""

import dataclasses
import hashlib
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasptb.data import Vocabulary
from kerasptb.generation import encode_text
from kerasptb.models import lstm
from kerasptb.serving.errors import BadRequestError, ServingError

_SIGNATURES = ("step", "initial_state", "encode", "score")
# Words, and the white space between them, which contains the line ends.
_UNIT = re.compile(r"\S+|\s+")
# The ids of pieces of text are remembered, because the same words come again with every keystroke. These are the limits
# of the number of pieces, and of the characters in a piece.
MAX_CACHED = 50_000
MAX_CACHED_LENGTH = 40


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """What the model knows after some words.

    Attributes:
        state: float32 [S], the concatenated states of all layers.
        next_log_probabilities: float32 [V], natural logarithms, of the next word; `None` if nothing was read yet.
        word_log_probabilities: float32 [T], of each word read so far; `None` if they were not computed.
    """

    state: np.ndarray
    next_log_probabilities: np.ndarray | None
    word_log_probabilities: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Unit:
    """A piece of a text, either without white space or of white space only, and the words that the model reads in it.

    Attributes:
        start: offset of its beginning in the text.
        end: offset after its end.
        tokens: int32 [T], the ids of its words: two for "don't", none for a comma or a space, `<eos>` for a line's end.
    """

    start: int
    end: int
    tokens: np.ndarray


class Predictor:
    """A SavedModel that `kerasptb.export_saved_model` wrote. It keeps no state and may be called from any thread.

    Args:
        folder: the SavedModel's folder. It is no longer needed after the predictor is made.

    Attributes:
        vocabulary: the `Vocabulary`.
        fingerprint: hexadecimal digest of weights and vocabulary, the same on every server of the same model.
        state_size: number S of floats of a state.
        initial: the `Context` before any text: after one `<eos>`, if the vocabulary has it.

    Raises:
        ServingError: if the folder holds no such SavedModel.
    """

    def __init__(self, folder):
        folder = Path(folder)
        try:
            loaded = tf.saved_model.load(str(folder))
            self.vocabulary = Vocabulary.load(folder / "assets" / "vocabulary.txt")
            signatures = {name: loaded.signatures[name] for name in _SIGNATURES}
            *_, kernel, bias = loaded.weights
        except (OSError, LookupError, AttributeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise ServingError(
                f"Expected a folder made by `kerasptb train` or `kerasptb export`. Received: {folder} ({reason})"
            ) from None
        self._loaded, self._signatures = loaded, signatures
        self._kernel, self._bias = kernel, bias
        _, arguments = signatures["step"].structured_input_signature
        # Sorted, so that a packed state has the same order in every process.
        self._state_sizes = {name: arguments[name].shape[1] for name in sorted(arguments.keys() - {"tokens", "k"})}
        self.state_size = sum(self._state_sizes.values())
        self.fingerprint = self._digest()
        self._cached_ids = {}
        self._step = tf.function(
            self._traced_step,
            input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, self.state_size])],
        )
        self._next = tf.function(self._traced_next, input_signature=[tf.TensorSpec([None, self.state_size])])
        zero = Context(np.zeros(self.state_size, np.float32), None, np.zeros(0, np.float32))
        self.initial = zero if self.vocabulary.eos_id is None else self._advance([zero], [[self.vocabulary.eos_id]])[0]
        # The functions are traced at their first call, which should not delay the first request.
        word = self.vocabulary.words[0]
        self.resume([self.extend([(self.initial, word)])[0].state])
        self.score(word)

    def read(self, text):
        """Returns the list of the `Unit`s of a text that contain words.

        The ids come from the SavedModel's own `encode`, which reads each word by itself.

        Args:
            text: any text, without a lone surrogate.

        Raises:
            BadRequestError: if a word is unknown to a vocabulary without `<unk>`.
        """
        # A local reference, because another thread may replace the dict.
        remembered = self._cached_ids
        pieces = [(match.start(), match.end(), match.group()) for match in _UNIT.finditer(text)]
        new = list({piece for _, _, piece in pieces if piece not in remembered})
        known = dict(zip(new, self._encode(new), strict=True)) if new else {}
        units = []
        for start, end, piece in pieces:
            tokens = known[piece] if piece in known else remembered[piece]
            if len(tokens):
                units.append(Unit(start, end, tokens))
        if len(remembered) >= MAX_CACHED:
            self._cached_ids = remembered = {}
        remembered.update((piece, tokens) for piece, tokens in known.items() if len(piece) <= MAX_CACHED_LENGTH)
        return units

    def extend(self, jobs):
        """Reads texts word by word, with as many calls as the longest text has words.

        Args:
            jobs: list of pairs of a `Context` and the text that follows.

        Returns:
            List of the `Context`s after the texts, with a `BadRequestError` in place of each that could not be read.
        """
        results, tokens = [], []
        for context, text in jobs:
            try:
                tokens.append(self._tokens(text))
                results.append(context)
            except BadRequestError as error:
                tokens.append([])
                results.append(error)
        for t in range(max(map(len, tokens), default=0)):
            rows = [i for i, ids in enumerate(tokens) if t < len(ids)]
            contexts = self._advance([results[i] for i in rows], [[tokens[i][t]] for i in rows])
            for i, context in zip(rows, contexts, strict=True):
                results[i] = context
        return results

    def extend_long(self, context, text):
        """Returns the `Context` after a text, read in one call, without the log probabilities of its words.

        Args:
            context: the `Context` before it.
            text: the text that follows.

        Raises:
            BadRequestError: as `read`.
        """
        tokens = self._tokens(text)
        return self._advance([context], [tokens])[0] if len(tokens) else context

    def score(self, text):
        """Returns the log probability of each word of a text, float32 [T].

        If the vocabulary has no `<eos>`, nothing comes before the first word, and the first word is left out.

        Args:
            text: a text, with at least one word unless the vocabulary has `<eos>`.

        Raises:
            BadRequestError: as `read`, or if there is no word.
        """
        try:
            result = self._signatures["score"](text=tf.constant([text]))
        except tf.errors.InvalidArgumentError:
            raise BadRequestError("The text is empty or holds a word that the model's vocabulary lacks.") from None
        return result["log_probabilities"].numpy()[0, : int(result["num_words"][0])]

    def resume(self, states):
        """Returns the list of the `Context`s of states. The next word depends on the state only.

        Args:
            states: list of float32 [S].
        """
        rows = self._next(np.stack(states)).numpy()
        return [Context(state, row, None) for state, row in zip(states, rows, strict=True)]

    def _tokens(self, text):
        units = self.read(text)
        return np.concatenate([unit.tokens for unit in units]) if units else np.zeros(0, np.int32)

    def _encode(self, texts):
        """Returns the ids of texts, list of int32 [T], without the `<eos>` before them."""
        before = self.vocabulary.eos_id is not None
        # Without <eos> in the vocabulary a text must have a word, so a known word is put before each text.
        extra = [] if before else [self.vocabulary.words[0]]
        try:
            encoded = self._loaded.encode(tf.constant([" ".join([*extra, text]) for text in texts]))
        except tf.errors.InvalidArgumentError:
            raise BadRequestError(self._unknown_word(texts)) from None
        tokens, lengths = encoded["tokens"].numpy(), encoded["lengths"].numpy()
        return [row[1:length].copy() for row, length in zip(tokens, lengths, strict=True)]

    def _unknown_word(self, texts):
        for text in texts:
            try:
                encode_text(self.vocabulary, text)
            except ValueError as error:
                return str(error)
        return "The text holds a word that the model's vocabulary, without <unk>, lacks."

    def _advance(self, contexts, tokens):
        """Returns the contexts after reading T more words in each of B contexts, `tokens` being ids [B, T]."""
        tokens = np.asarray(tokens, np.int32)
        states = np.stack([context.state for context in contexts])
        log_probabilities, states = (output.numpy() for output in self._step(tokens, states))
        results = []
        for context, row, next_row, state in zip(contexts, tokens, log_probabilities, states, strict=True):
            words = context.word_log_probabilities
            if len(row) > 1:
                words = None
            elif words is not None and context.next_log_probabilities is not None:
                words = np.append(words, context.next_log_probabilities[row[0]])
            # Copies, because a view of a row would keep the whole batch in memory.
            results.append(Context(state.copy(), next_row.copy(), words))
        return results

    def _traced_step(self, tokens, states):
        """Returns log probabilities of the next word, float32 [B, V], and states [B, S] after tokens [B, T]."""
        sizes = self._state_sizes
        state = dict(zip(sizes, tf.split(states, list(sizes.values()), axis=1), strict=True))
        # `step` ranks words, and ranking all of them costs more than the model. So only one is requested, and the
        # distribution is computed from the last layer's output.
        result = self._signatures["step"](tokens=tokens, k=tf.constant(1), **state)
        states = tf.concat([result[name] for name in sizes], axis=1)
        return self._traced_next(states), states

    def _traced_next(self, states):
        sizes = self._state_sizes
        last = list(sizes).index(lstm.output_state(sizes))
        hidden = tf.split(states, list(sizes.values()), axis=1)[last]
        return tf.nn.log_softmax(tf.matmul(hidden, self._kernel) + self._bias)

    def _digest(self):
        digest = hashlib.blake2b("\n".join(self.vocabulary.words).encode(), digest_size=8)
        for weight in self._loaded.weights:
            digest.update(weight.numpy().tobytes())
        return digest.hexdigest()
