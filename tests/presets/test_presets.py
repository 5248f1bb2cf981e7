"""Every recipe's file: what it says, the model that it makes, and that it trains."""

import importlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import kerasptb
from kerasptb.arguments import RECIPE_ARGUMENTS, BatchArguments, ModelArguments, read_part
from kerasptb.callbacks import AveragedWeights, LearningRateDecay, ResetStates
from kerasptb.optimizers import ClippedAdamW, ClippedSGD
from kerasptb.presets import PRESETS, get_preset
from kerasptb.presets.recipe import summary_of

# V D + sum of 4 H (D + H + 1) + V, and V H where the matrix of the logits is not the embedding's.
PARAMETERS = {
    "auto": 10_000 * 257 + 2 * 4 * 256 * 513,
    "awd-lstm": 10_000 * 401 + 4 * 1150 * 1551 + 4 * 1150 * 2301 + 4 * 400 * 1551,
    "awd-lstm-one-cycle": 10_000 * 401 + 4 * 1150 * 1551 + 4 * 1150 * 2301 + 4 * 400 * 1551,
    "characters": 10_000 * (128 + 640 + 1) + 4 * 640 * (128 + 640 + 1) + 4 * 640 * 1281,
    "medium": 10_000 * 401 + 4 * 800 * 1201 + 4 * 400 * 1201,
    "notebook": 3_955_088,
    "phone": 10_000 * 97 + 4 * 192 * (96 + 192 + 1) + 4 * 96 * (192 + 96 + 1),
    "sample": 10_000 * 201 + 4 * 200 * 401,
    "small": 10_000 * 257 + 2 * 4 * 256 * 513,
    "tied-650": 10_000 * 651 + 2 * 4 * 650 * 1301,
    "tuned": 3_554_704,
    "zaremba-medium": 2 * 10_000 * 650 + 10_000 + 2 * 4 * 650 * 1301,
}


@pytest.mark.parametrize("name", PRESETS)
def test_makes_a_model_of_so_many_parameters(name):
    assert kerasptb.LanguageModel.from_preset(name).count_params() == PARAMETERS[name]


def test_recipes_of_a_size_keep_it():
    assert PARAMETERS["small"] <= PARAMETERS["notebook"]
    assert PARAMETERS["medium"] <= 10_000_000
    assert {get_preset(name).epochs for name in ("small", "medium")} == {60}


@pytest.mark.parametrize("name", PRESETS)
def test_the_docstring_names_the_command(name):
    docstring = importlib.import_module(f"kerasptb.presets.{name.replace('-', '_')}").__doc__
    assert f"kerasptb train --preset {name}" in docstring
    assert docstring.startswith(summary_of(name)[:60])


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ("notebook", "awd-lstm") else pytest.mark.slow) for name in PRESETS],
)
def test_trains_a_small_model_with_plain_keras(name):
    preset = get_preset(name)
    ids = np.arange(600) ** 2 % 30
    size = {"embedding_size": 6, "units": (6,), "batch_size": 4, "num_steps": 5, "seed": 1}
    model = kerasptb.LanguageModel(**{**preset.model_arguments(30), **size})
    batches = kerasptb.make_dataset(ids, 4, 5)
    optimizer, callbacks = preset.training(steps_per_epoch=len(batches), epochs=2)
    model.compile(optimizer)
    history = model.fit(
        batches, epochs=2, verbose=0, validation_data=batches, callbacks=[ResetStates(), *callbacks]
    ).history
    assert history["val_perplexity"][1] < 29


def test_settings_reach_optimizer_and_callbacks():
    optimizer, (decay,) = get_preset("notebook").training(10, learning_rate=0.5, constant_epochs=2, global_clipnorm=3.0)
    assert isinstance(optimizer, ClippedSGD)
    assert isinstance(decay, LearningRateDecay)
    assert (float(optimizer.learning_rate), optimizer.global_clipnorm) == (0.5, 3.0)
    assert [decay.rate(epoch) for epoch in range(4)] == [0.5, 0.5, 0.25, 0.125]
    optimizer, (averaged,) = get_preset("awd-lstm").training(10, patience=7)
    assert isinstance(averaged, AveragedWeights)
    assert averaged.patience == 7
    # The paper's are for the mean of the 70 steps.
    assert float(optimizer.learning_rate) * 70 == pytest.approx(30)
    assert optimizer.weight_decay * float(optimizer.learning_rate) == pytest.approx(30 * 1.2e-6)
    optimizer, callbacks = get_preset("small").training(steps_per_epoch=10, epochs=3)
    assert isinstance(optimizer, ClippedAdamW)
    assert callbacks == []
    assert optimizer.get_config()["learning_rate"]["config"]["total_steps"] == 30


@pytest.mark.parametrize(
    ("num_steps", "norm", "length"), [(35, 0.2, 3.0), (35, 0.4, 6.0), (35, 1.0, 7.5), (70, 0.2, 6.0), (70, 0.4, 7.5)]
)
def test_awd_lstm_s_steps_are_as_long_as_its_docstring_says(num_steps, norm, length):
    optimizer, _ = get_preset("awd-lstm").training(10)
    weights = keras.Variable(np.zeros(2, "float32"))
    optimizer.apply([keras.ops.convert_to_tensor(num_steps * norm * np.array([0.6, 0.8], "float32"))], [weights])
    np.testing.assert_allclose(weights, [-0.6 * length, -0.8 * length], rtol=1e-5)


def test_refuses_settings_that_the_recipe_does_not_have():
    with pytest.raises(ValueError, match=r"Expected settings of the training among \['constant_.*Received: \['warmth'"):
        get_preset("tuned").training(10, warmth=3)


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_is_a_field_that_takes_its_value(name):
    preset = get_preset(name)
    model = preset.model_arguments()
    assert read_part(ModelArguments.fields(), model, "model") == model
    training = preset.settings
    assert read_part(RECIPE_ARGUMENTS, training, "recipe") == training
    assert read_part(BatchArguments.fields(), preset.batches, "batches") == preset.batches


def test_keep_prob_replaces_the_rates_of_a_recipe():
    sizes = {"vocabulary_size": 30, "units": (6,), "embedding_size": 6}
    model = kerasptb.LanguageModel.from_preset("small", keep_prob=0.5, word_dropout=0.2, hidden_dropout=0.1, **sizes)
    assert [layer.rate for layer in model.layers if layer.name.endswith("_dropout")] == [0.5, 0.5]
    assert (model.word_dropout, model.hidden_dropout, model.input_dropout) == (0.2, 0.1, None)


def test_names_and_summaries_need_no_keras():
    program = "import sys; from kerasptb.presets.recipe import PRESETS, summary_of; [summary_of(n) for n in PRESETS]"
    program += "; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", PRESETS)
def test_settings_of_every_training_are_known_arguments(name):
    assert set(get_preset(name).settings) <= set(RECIPE_ARGUMENTS)
