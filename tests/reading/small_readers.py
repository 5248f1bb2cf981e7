"""Tiny models far from even, so that a wrong word shows, and what reads with them: fixtures of several folders."""

import numpy as np
from shared import shared

WORDS = (
    "the <unk> N <eos> of to a in and 's that for it on n't by do does ca mr. u.s. company compare year yes "
    "'re they 'll i 'd well-known café 日本 3 cat dog sat mat over quick brown fox then thus Anna %"
)
TEXTS = (
    "",
    "   ",
    "the cat",
    "The Cat sat on the mat ",
    "I don't, they'll \t\n \nMr. Fox can't  do\tthat\n",
    "\n\nA well-known café — 日本 \U0001f600 in 1987, 3.5% \x00 \u2028 of\u00a0it",
    "a,b,c the\r\ncat\r\n",
)


@shared
def vocabulary():
    from kerasptb.data import Vocabulary

    return Vocabulary(WORDS.split())


@shared
def model(vocabulary):
    """A model of two layers whose probabilities are far from even, so that a wrong word shows."""
    from kerasptb.models import LanguageModel

    model = LanguageModel(
        len(vocabulary), 8, (11, 9), batch_size=1, num_steps=5, init_scale=1.0, seed=4, tokenizer=vocabulary
    )
    model.compile()
    return model


@shared
def saved_model(model, vocabulary, tmp_path_factory):
    """The folder of the model as a SavedModel."""
    from kerasptb.conversion import export_saved_model

    return export_saved_model(model, tmp_path_factory.mktemp("serving") / "saved_model")


@shared
def reader(saved_model):
    from kerasptb.reading import load_saved_model

    return load_saved_model(saved_model)


@shared
def counted(reader):
    """The same with the counts of a text, which comes back to some of its sentences, by weights far from even."""
    from kerasptb.reading.counted_reader import CountedReader, CountedText
    from kerasptb.reading.counts import NUM_WEIGHTS, initial_weights, sort_positions

    random, vocabulary = np.random.default_rng(0), reader.tokenizer
    sentences = [" ".join(random.choice(WORDS.split()[4:], 6)) for _ in range(15)]
    lines = [*random.choice(sentences, 60), *["the cat sat on the mat"] * 70]
    text = np.array(vocabulary.encode("".join(f"{line}\n" for line in lines)), "int32")
    weights = (initial_weights() + random.normal(-2, 1, (3, NUM_WEIGHTS))).astype("float32")
    return CountedReader(reader, CountedText(text, sort_positions(text, len(vocabulary)), *weights))


@shared
def texts():
    return TEXTS


class ConstantNetwork:
    """A network of one's own, that expects the same after any text, of log probabilities, float32 [V]."""

    state_size = 1

    def __init__(self, log_probabilities):
        self._of_all, self.vocabulary_size = log_probabilities, len(log_probabilities)

    def encode(self, tokens, states):
        return np.zeros((*tokens.shape, 1), "float32"), states

    def hidden_after(self, states):
        return np.zeros((len(states), 1), "float32")

    def log_probabilities(self, hidden):
        return np.tile(self._of_all, (len(hidden), 1))

    def log_likelihoods(self, tokens, targets, states):
        raise NotImplementedError


class Subworded:
    """A tiny model of subwords, or of what another tokenizer has, far from even like `model`."""

    def __init__(self, tokenizer=None):
        from kerasptb.data import Subwords
        from kerasptb.models import LanguageModel
        from kerasptb.models.portable import PortableNetwork
        from kerasptb.reading.reader import open_reader

        lines = ["The cat sat on the mat, and the cat's hat sat on it.", "A dog, (the dog) that sat, ran to the cat."]
        self.tokenizer = tokenizer or Subwords.train(lines * 3, 290)
        self.model = LanguageModel(
            len(self.tokenizer), 8, (11, 9), batch_size=1, num_steps=5, init_scale=1.0, seed=4, tokenizer=self.tokenizer
        )
        self.model.compile()
        # The bytes that no word here has are all but impossible, as after a training.
        written = {bytes([byte]) for line in lines for byte in line.encode()}
        chances = {True: 1.0, False: -9.0} | dict.fromkeys([b"\n", b",", b"."], 4.0)
        pieces = self.tokenizer.pieces
        self.model.get_layer("logits").bias.assign(
            [3.0 if len(piece) > 1 else chances.get(piece, chances[piece in written]) for piece in pieces]
        )
        self.network = PortableNetwork(self.model)
        self.reader = open_reader(self.model)


@shared
def subworded():
    return Subworded()


@shared
def japanese():
    """A tiny model of a text without spaces."""
    from kerasptb.data import Subwords

    return Subworded(
        Subwords.train(["猫は庭で寝ています。", "犬は猫を見ています。", "私は犬と猫が好きです。"] * 3, 320)
    )


@shared
def spelled():
    """A tiny model of characters."""
    from kerasptb.data import Subwords

    return Subworded(Subwords.characters())
