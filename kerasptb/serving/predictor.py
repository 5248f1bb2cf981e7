"""A network and its tokenizer as functions of arrays: they read tokens and return the distribution of the next one."""

import contextlib
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasptb.data import UnknownWordError
from kerasptb.data.kinds import load_tokenizer
from kerasptb.models.portable import PortableNetwork
from kerasptb.serving.errors import BadRequestError, ServingError

# Rows of logits that are in memory at once when a text is scored: 20 MB at V = 10,000.
_SCORED_TOGETHER = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """What the model knows after some tokens.

    Attributes:
        state: float32 [S], the concatenated states of all layers.
        next_log_probabilities: float32 [V], natural logarithms, of the next token; `None` if nothing was read yet.
        token_log_probabilities: float32 [T], of each token read so far; `None` if they were not computed.
    """

    state: np.ndarray
    next_log_probabilities: np.ndarray | None
    token_log_probabilities: np.ndarray | None


class Predictor:
    """A network that reads tokens. It keeps no state and may be called from any thread.

    Args:
        network: a `PortableNetwork`.
        tokenizer: its `Tokenizer`.
        name: "english" for the model that comes with this package.

    Attributes:
        tokenizer: the same.
        name: the same.
        fingerprint: hexadecimal digest of weights and tokenizer, the same on every server of the same model.
        state_size: number S of floats of a state.
        initial: the `Context` before any text: after the end of a paragraph, if the tokenizer has it.
    """

    def __init__(self, network, tokenizer, name=""):
        self._network, self.tokenizer, self.name = network, tokenizer, name
        # Sorted, so that a packed state has the same order in every process.
        self._state_sizes = dict(sorted(network.state_sizes.items()))
        self.state_size = sum(self._state_sizes.values())
        self.fingerprint = self._digest()
        self._kernels = network.join_kernels()
        states = tf.TensorSpec([None, self.state_size])
        one_each, texts = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.int32)
        self._step = tf.function(self._traced_step, input_signature=[one_each, states])
        self._read = tf.function(self._traced_read, input_signature=[texts, states])
        self._score = tf.function(self._traced_score, input_signature=[texts, texts, states])
        self._next = tf.function(self._traced_next, input_signature=[states])
        zero = Context(np.zeros(self.state_size, np.float32), None, np.zeros(0, np.float32))
        self.initial = zero if tokenizer.eos_id is None else self._advance([zero], [tokenizer.eos_id])[0]
        # The functions are traced at their first call, which should not delay the first request.
        token = np.zeros(1, np.int32)
        self.resume([self.extend([(self.initial, token)])[0].state])
        self.extend_long(self.initial, token)
        self.score(np.zeros(2, np.int32))

    @classmethod
    def load(cls, folder):
        """Returns the predictor of a SavedModel that `kerasptb.export_saved_model` wrote.

        Args:
            folder: its folder, which is no longer needed afterwards.

        Raises:
            ServingError: if the folder holds no such SavedModel.
        """
        try:
            loaded = tf.saved_model.load(str(folder))
            network = PortableNetwork.from_weights([weight.numpy() for weight in loaded.weights])
            tokenizer = load_tokenizer(Path(folder, "assets"))
            tokenizer.check_size(network.vocabulary_size)
        except (OSError, LookupError, AttributeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise ServingError(
                f"Expected a folder made by `kerasptb train` or `kerasptb export`. Received: {folder} ({reason})"
            ) from None
        return cls(network, tokenizer)

    def encode(self, text):
        """Returns the ids of a text, int32 [T], without what comes before it in `initial`.

        Args:
            text: any text, without a lone surrogate.

        Raises:
            BadRequestError: if a word is unknown to a vocabulary without `<unk>`.
        """
        if self.tokenizer.eos_id is None:
            return self.encode_further(text)
        with _unknown_words_refused():
            return self.tokenizer.encode_typed(text)[1:]

    def encode_further(self, text):
        """Returns the ids of a text after a whole word, as `encode` does."""
        with _unknown_words_refused():
            return self.tokenizer.encode_further(text)

    def units(self, text):
        """Returns the list of the `Unit`s of a text, whose ids together are those of `encode`, like what is raised."""
        with _unknown_words_refused():
            return self.tokenizer.units_typed(text)

    def extend(self, jobs):
        """Reads texts token by token, with as many calls as the longest text has tokens.

        Args:
            jobs: list of pairs of a `Context` and the ids that follow, int32 [T].

        Returns:
            List of the `Context`s after the texts.
        """
        results = [context for context, _ in jobs]
        for t in range(max((len(ids) for _, ids in jobs), default=0)):
            rows = [i for i, (_, ids) in enumerate(jobs) if t < len(ids)]
            contexts = self._advance([results[i] for i in rows], [jobs[i][1][t] for i in rows])
            for i, context in zip(rows, contexts, strict=True):
                results[i] = context
        return results

    def extend_long(self, context, ids):
        """Returns the `Context` after a text, read in one call, without the log probabilities of its tokens.

        Args:
            context: the `Context` before it.
            ids: the ids that follow, int32 [T].
        """
        if not len(ids):
            return context
        row, state = (output.numpy()[0] for output in self._read(ids[np.newaxis], context.state[np.newaxis]))
        return Context(state, row, None)

    def score(self, ids):
        """Returns the log probability of each token of a text, float32 [T].

        If the tokenizer has no end of a paragraph, nothing comes before the first token, and it is left out.

        Args:
            ids: int32 [T].
        """
        before = self.initial.next_log_probabilities
        parts = [[] if before is None else before[ids[:1]]]
        states = self.initial.state[np.newaxis]
        for start in range(0, len(ids) - 1, _SCORED_TOGETHER):
            targets = ids[start + 1 : start + 1 + _SCORED_TOGETHER]
            read = ids[start : start + len(targets)]
            values, states = self._score(read[np.newaxis], targets[np.newaxis], states)
            parts.append(values.numpy()[0])
        return np.concatenate(parts).astype("float32")

    def resume(self, states):
        """Returns the list of the `Context`s of states. The next token depends on the state only.

        Args:
            states: list of float32 [S].
        """
        rows = self._next(np.stack(states)).numpy()
        return [Context(state, row, None) for state, row in zip(states, rows, strict=True)]

    def _advance(self, contexts, tokens):
        """Returns the contexts after one more token in each of B contexts, `tokens` being ids [B]."""
        states = np.stack([context.state for context in contexts])
        rows, states = (output.numpy() for output in self._step(np.asarray(tokens, np.int32), states))
        results = []
        for context, token, next_row, state in zip(contexts, tokens, rows, states, strict=True):
            values = context.token_log_probabilities
            if values is not None and context.next_log_probabilities is not None:
                values = np.append(values, context.next_log_probabilities[token])
            # Copies, because a view of a row would keep the whole batch in memory.
            results.append(Context(state.copy(), next_row.copy(), values))
        return results

    def _traced_step(self, tokens, states):
        """Returns log probabilities of the next token, float32 [B, V], and states [B, S] after tokens [B]."""
        vectors = tf.gather(self._network.embeddings.value, tokens)
        hidden, state = self._network.encode_vector(vectors, self._split(states), self._kernels)
        return self._log_softmax(hidden), self._packed(state)

    def _traced_read(self, tokens, states):
        """Returns what `_traced_step` does, after tokens [B, T]."""
        hidden, state = self._network.encode(tokens, self._split(states))
        return self._log_softmax(hidden[:, -1]), self._packed(state)

    def _traced_score(self, tokens, targets, states):
        """Returns the log probability of each target, float32 [B, T], after the tokens up to there, and the states."""
        hidden, state = self._network.encode(tokens, self._split(states))
        logits = self._network.logits(hidden)
        return -tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits), self._packed(state)

    def _traced_next(self, states):
        return self._log_softmax(self._network.hidden_of(self._split(states)))

    def _log_softmax(self, hidden):
        return tf.nn.log_softmax(self._network.logits(hidden))

    def _split(self, states):
        sizes = self._state_sizes
        return dict(zip(sizes, tf.split(states, list(sizes.values()), axis=1), strict=True))

    def _packed(self, state):
        return tf.concat([state[name] for name in self._state_sizes], axis=1)

    def _digest(self):
        digest = hashlib.blake2b(self.tokenizer.digest.encode(), digest_size=8)
        for weight in self._network.weights:
            digest.update(weight.numpy().tobytes())
        return digest.hexdigest()


@contextlib.contextmanager
def _unknown_words_refused():
    try:
        yield
    except UnknownWordError as error:
        raise BadRequestError(str(error)) from None
