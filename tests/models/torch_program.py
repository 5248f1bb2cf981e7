"""What is PyTorch's own in a `LanguageModel`: sparse gradients, logits that nobody reads, steps that fail."""

import keras
import numpy as np
import torch

import kerasptb
from kerasptb.compat.keras import torch_device
from kerasptb.layers import Dense, FusedLSTM
from kerasptb.losses import SequenceCrossEntropy
from kerasptb.models import LanguageModel
from kerasptb.ops.logits import unread
from kerasptb.optimizers import ClippedAdamW
from kerasptb.pipeline import make_dataset

V, B, T = 50, 4, 5
rows = np.random.default_rng(0).integers(0, V, (8 * B, T)).astype("int32")
model = LanguageModel(V, 6, (8, 6), B, T, seed=3)
model.compile()
matrix, dense = model.get_layer("embedding").embeddings, model.get_layer("logits")
computed = []
product = keras.layers.Dense.call
keras.layers.Dense.call = lambda *args, **kwargs: computed.append(1) or product(*args, **kwargs)


def count_products(call):
    computed.clear()
    call()
    return len(computed)


assert torch_device() == "cpu"

# In steps whose loss and metrics read factors no logits are computed, and gradients of the embedding are of rows.
model.train_on_batch(rows[:B], rows[:B])  # builds metrics
assert matrix.value.grad.is_sparse
assert matrix.value.grad._values().shape == (B * T, 6)
assert count_products(lambda: model.fit(rows, rows, verbose=0)) == 0
assert count_products(lambda: model.evaluate(rows, rows, verbose=0)) == 0
assert count_products(lambda: model.predict(rows, verbose=0)) == 8
assert str(kerasptb.explain(model)).count("native, float32") == 4
assert kerasptb.explain(model)[-1][:3] == ("step", "fit", "eager")
with unread():
    assert torch.isnan(dense(torch.zeros((2, 3, 6)))).all()

model.compile(ClippedAdamW(0.01), metrics=["accuracy"])
model.train_on_batch(rows[:B], rows[:B])
assert matrix.value.grad.is_sparse
assert count_products(lambda: model.fit(rows, rows, verbose=0)) == 8
model.compile("adam")
model.train_on_batch(rows[:B], rows[:B])
assert not matrix.value.grad.is_sparse

# A step that fails leaves the state as it was.
before = [np.array(variable) for variable in model.state_variables()]
try:
    model.train_on_batch(rows[:B], rows[:B], np.ones((B, T - 1)))
except Exception as error:
    assert not isinstance(error, AssertionError)
else:
    raise AssertionError("it was not refused")
for now, then in zip(model.state_variables(), before, strict=True):
    np.testing.assert_array_equal(now, then)

for call, expected in (
    (lambda: model.fit(make_dataset(np.arange(99), B, T), verbose=0), "Expected word ids in [0, 50)"),
    (lambda: model.export("folder"), "A SavedModel is made with Keras on TensorFlow"),
    (lambda: model.distill(model), "A teacher needs KERAS_BACKEND=tensorflow"),
):
    try:
        call()
    except ValueError as error:
        assert expected in str(error), error
        assert "\n" not in str(error), error
    else:
        raise AssertionError(f"not refused: {expected}")

# In PyTorch's own loop.
layers = torch.nn.Sequential(FusedLSTM(8, return_sequences=True), Dense(V))
x, y = torch.randn(B, T, 3), torch.tensor(rows[:B])
layers(x)
optimizer, losses = torch.optim.SGD(layers.parameters(), lr=0.1), []
for _ in range(9):
    optimizer.zero_grad()
    loss = SequenceCrossEntropy()(y, layers(x))
    loss.backward()
    optimizer.step()
    losses.append(float(loss.detach()))
assert losses[-1] < 0.99 * losses[0], losses
print("as expected")
