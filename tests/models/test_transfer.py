import numpy as np
import pytest

import kerasptb
from kerasptb.data import Subwords, Vocabulary
from kerasptb.models.transfer import transfer_weights

OLD = Vocabulary(["<eos>", "<unk>", "the", "cat", "sat"])
NEW = Vocabulary(["the", "<eos>", "dog", "cat"])


TEXT = ["the cat sat", "the cat ran", "the dog sat"] * 2
# A piece for " the" and " cat" in the small one, in the large one for " sat" too.
SMALL, LARGE = Subwords.train(TEXT, 263), Subwords.train(TEXT, 300)


def model(vocabulary, tied, seed, units=(4, 3)):
    units = (*units[:-1], 3) if tied else units
    return kerasptb.LanguageModel(len(vocabulary), 3, units, 2, 5, tie_embeddings=tied, seed=seed)


@pytest.mark.parametrize("tied", [False, True])
def test_words_keep_their_weights_and_new_ones_begin_anew(tied):
    source, target = model(OLD, tied, 1), model(NEW, tied, 2)
    initial = {layer.name: layer.get_weights() for layer in target.layers}
    assert transfer_weights(source, OLD, target, NEW) == 3
    for layer in target.layers:
        old, new = source.get_layer(layer.name).get_weights(), layer.get_weights()
        for weights in zip(old, new, initial[layer.name], strict=True):
            # Rows of words: the logits' matrix has them as columns.
            by_word = layer is target.layers[-1] and weights[0].ndim == 2
            a, b, before = (weight.T for weight in weights) if by_word else weights
            if layer.name.startswith("lstm"):
                np.testing.assert_array_equal(b, a)
            else:
                np.testing.assert_array_equal(b[[0, 1, 3]], a[[2, 0, 3]])  # the, <eos>, cat
                np.testing.assert_array_equal(b[2], before[2])
    # What both know has the same probabilities among itself, after the same words.
    words = ["the", "<eos>", "cat"]
    logits = [
        np.log(each.next_word_probabilities(vocabulary.encode(["<eos>", "the"])[None])[0])[vocabulary.encode(words)]
        for each, vocabulary in ((source, OLD), (target, NEW))
    ]
    np.testing.assert_allclose(logits[0] - logits[0][0], logits[1] - logits[1][0], atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "shared", "known"),
    [
        (OLD, LARGE, ["the", "cat", "sat", "\n"], 4),
        (LARGE, OLD, ["the", "cat", "sat", "\n"], 4),
        (SMALL, LARGE, ["the", "\n", "x"], len(SMALL)),
        (LARGE, SMALL, ["the", "\n", "x"], len(SMALL)),
    ],
    ids=["words to subwords", "subwords to words", "few to many", "many to few"],
)
def test_tokens_are_the_same_if_they_write_the_same(old, new, shared, known):
    source, target = model(old, True, 1), model(new, True, 2)
    initial = target.get_layer("embedding").get_weights()[0]
    assert transfer_weights(source, old, target, new) == known
    before, after = (each.get_layer("embedding").get_weights()[0] for each in (source, target))
    for text in shared:
        written = text.encode() if len(text) == 1 else f" {text}".encode()
        np.testing.assert_array_equal(after[new.pieces.index(written)], before[old.pieces.index(written)], text)
    anew = [i for i, piece in enumerate(new.pieces) if piece not in old.pieces]
    assert len(anew) == len(new) - known
    np.testing.assert_array_equal(after[anew], initial[anew])


def test_other_sizes_are_refused_and_nothing_changes():
    source, target = model(OLD, False, 1), model(NEW, False, 2, units=(4, 5))
    before = target.get_weights()
    with pytest.raises(ValueError, match=r"Received: lstm_1 with \[\(4, 20\), .* and \[\(4, 12\)"):
        transfer_weights(source, OLD, target, NEW)
    with pytest.raises(ValueError, match="one without lstm_1"):
        transfer_weights(model(OLD, False, 1, units=(3, 3)), OLD, model(NEW, False, 2, units=(3,)), NEW)
    for a, b in zip(target.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
