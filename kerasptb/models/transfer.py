"""Weights of a trained model for one of another vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kerasptb.data import Tokenizer
from kerasptb.layers.embedding import Embedding

if TYPE_CHECKING:
    from kerasptb.models.language_model import LanguageModel


def transfer_weights(
    source: LanguageModel, source_vocabulary: Tokenizer, model: LanguageModel, vocabulary: Tokenizer
) -> int:
    """Gives a model the weights of a trained one: the layers' as they are, the vocabulary's token by token.

    Tokens are the same if they write the same: a word, and a subword that is that word and the space before it; the
    ends of lines and paragraphs. Tokens that the trained model does not have keep their initial vectors, and their
    initial weights of the logits.

    Args:
        source: the trained `LanguageModel`.
        source_vocabulary: its `Tokenizer`.
        model: a `LanguageModel` with layers of the same names and sizes; its weights are replaced.
        vocabulary: its `Tokenizer`.

    Returns:
        The number of tokens that both have.

    Raises:
        ValueError: if the models differ in more than the vocabulary; then nothing is replaced.
    """
    known = {piece: index for index, piece in enumerate(source_vocabulary.pieces)}
    pairs = [(index, known[piece]) for index, piece in enumerate(vocabulary.pieces) if piece in known]
    there, from_ = np.array(pairs, int).reshape(-1, 2).T
    found = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    logits = model.layers[-1]
    replaced = []
    for layer in (layer for layer in model.layers if layer.weights):
        old, new = found.pop(layer.name, []), layer.get_weights()
        # Dimensions of words: the first of the embedding, the last of the matrix and the bias of the logits.
        axis = 0 if isinstance(layer, Embedding) else -1 if layer is logits else None
        if [_without(weight, axis) for weight in old] != [_without(weight, axis) for weight in new]:
            raise ValueError(
                f"Expected a model of the same layers. Received: {layer.name} with {[each.shape for each in new]}, and "
                f"{[each.shape for each in old]} in the trained one"
            )
        for i, weight in enumerate(old):
            if axis is None:
                new[i] = weight
            else:
                words_first = np.moveaxis(new[i], axis, 0)  # a view
                words_first[there] = np.moveaxis(weight, axis, 0)[from_]
        replaced.append((layer, new))
    if found:
        raise ValueError(f"Expected a model of the same layers. Received: one without {', '.join(found)}")
    for layer, weights in replaced:
        layer.set_weights(weights)
    return len(pairs)


def _without(weight: np.ndarray, axis: int | None) -> tuple[int, ...]:
    return weight.shape if axis is None else np.moveaxis(weight, axis, 0).shape[1:]
