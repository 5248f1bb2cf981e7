import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import KERAS, TRAIN, VALID, B, T, V, compiled_model, losses_of, small_model

from kerasptb.data import Vocabulary
from kerasptb.losses import SequenceCrossEntropy, SparseCategoricalCrossentropy
from kerasptb.metrics import Perplexity
from kerasptb.models import LanguageModel
from kerasptb.optimizers import ClippedSGD
from kerasptb.pipeline import make_dataset


def test_the_choice_of_compiling_is_not_saved_with_the_model(tmp_path):
    for asked in (None, "auto", True, False):
        model = small_model()
        model.compile(jit_compile=asked)
        assert model.get_compile_config()["jit_compile"] == asked
    model.compile()
    # As another machine would have chosen.
    chosen = model.jit_compile
    model.jit_compile = model._compile_config.config["jit_compile"] = not chosen
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").jit_compile is chosen


def test_the_loss_of_keras_is_computed_from_factors_and_comes_back(tmp_path):
    model, other = small_model(), small_model()
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2), loss_weights=0.5)
    assert type(model.loss) is SparseCategoricalCrossentropy
    other.compile(
        loss=lambda y, z: 0.5 * KERAS(from_logits=True, ignore_class=2)(y, z),
        metrics=[Perplexity(ignore_class=2)],
        jit_compile=False,
    )
    found, expected = (m.fit(make_dataset(TRAIN, B, T), verbose=0).history for m in (model, other))
    assert found == {name: [pytest.approx(values[0], rel=1e-5)] for name, values in expected.items()}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == model.loss.get_config()
    assert loaded.evaluate(make_dataset(VALID, B, T), verbose=0) == model.evaluate(make_dataset(VALID, B, T), verbose=0)


def test_a_tokenizer_that_was_changed_in_the_file_is_refused(tmp_path):
    vocabulary = Vocabulary(["<unk>", "<eos>", "the", "cat"])
    LanguageModel(4, 5, 6, batch_size=1, num_steps=3, tokenizer=vocabulary).save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").tokenizer == vocabulary
    with zipfile.ZipFile(tmp_path / "model.keras") as old, zipfile.ZipFile(tmp_path / "other.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"the\ncat\n", b"cat\nthe\n"))
    with pytest.raises(ValueError, match="Expected the tokenizer that the model was saved with"):
        keras.saving.load_model(tmp_path / "other.keras")


def test_inside_of_a_model_one_with_a_tokenizer_and_one_without_come_back(tmp_path):
    tokens = keras.Input((T,), batch_size=B, dtype="int32")
    inner = [LanguageModel(V, 6, 8, B, T, seed=seed, name=f"inner_{seed}") for seed in (1, 2)]
    inner[0].tokenizer = Vocabulary([*map(str, range(V - 1)), "<unk>"])
    outer = keras.Model(tokens, [each(tokens) for each in inner])
    outer.save(tmp_path / "outer.keras")
    loaded = keras.saving.load_model(tmp_path / "outer.keras")
    assert loaded.get_layer("inner_1").tokenizer.digest == inner[0].tokenizer.digest
    assert loaded.get_layer("inner_2").tokenizer is None
    for found, expected in zip(loaded.get_weights(), outer.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_saved_model_keeps_its_dtype_policy(tmp_path):
    model = compiled_model(dtype="mixed_bfloat16")
    losses_of(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {layer.dtype_policy.name for layer in (loaded, *loaded.layers[1:])} == {"mixed_bfloat16"}
    a, b = (m.predict(VALID[: B * T].reshape(B, T), batch_size=B, verbose=0) for m in (model, loaded))
    assert a.dtype == "bfloat16"
    np.testing.assert_array_equal(a, b)


def test_is_checkpointed_by_tensorflow_after_an_evaluation(tmp_path):
    model, other = compiled_model(), compiled_model(seed=4)
    for batch_size in (B, 2):
        model.evaluate(make_dataset(VALID, batch_size, T), verbose=0)
    path = tf.train.Checkpoint(model=model).save(tmp_path / "checkpoint")
    other.evaluate(make_dataset(VALID, B, T), verbose=0)
    tf.train.Checkpoint(model=other).restore(path).assert_existing_objects_matched()
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_layers_come_back_frozen(tmp_path):
    model = small_model()
    model.get_layer("embedding").trainable = model.get_layer("lstm_1").trainable = False
    model.compile("adam")
    losses_of(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [v.path for v in loaded.trainable_variables] == [v.path for v in model.trainable_variables]
    for a, b in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    before = model.get_layer("embedding").embeddings.numpy()
    losses_of(loaded, epochs=1)
    np.testing.assert_array_equal(loaded.get_layer("embedding").embeddings.numpy(), before)


def test_saving_warns_of_lora_that_is_merged(tmp_path):
    model = compiled_model()
    model.get_layer("logits").enable_lora(2)
    model.compile("sgd", SequenceCrossEntropy(), jit_compile=False)
    model.fit(make_dataset(TRAIN, B, T), verbose=0)
    tokens = np.arange(T, dtype="int32")[np.newaxis]
    expected = model.predict(tokens, batch_size=1, verbose=0)
    with pytest.warns(UserWarning, match=r"LoRA of the layers \['logits'\] is merged"):
        model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(tokens, batch_size=1, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_keras_file_gives_back_the_model_and_its_training(tmp_path):
    model = compiled_model(keep_prob=0.9)
    losses_of(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, LanguageModel)
    assert loaded.get_config() == model.get_config()
    assert isinstance(loaded.optimizer, ClippedSGD)
    assert loaded.evaluate(make_dataset(VALID, B, T), verbose=0) == model.evaluate(make_dataset(VALID, B, T), verbose=0)
    assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations)
    losses_of(loaded, epochs=1)


def test_a_stock_compilation_survives_the_keras_file(tmp_path):
    model = small_model()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    losses_of(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.Adam)
    assert set(loaded.evaluate(make_dataset(VALID, B, T), verbose=0, return_dict=True)) == {"loss", "accuracy"}


def test_state_is_not_among_the_weights(tmp_path):
    model = compiled_model()
    losses_of(model, epochs=1)
    model.evaluate(make_dataset(VALID, 2, T), verbose=0)
    assert len(model.weights) == 9
    model.save_weights(tmp_path / "model.weights.h5")
    other = compiled_model()
    other.load_weights(tmp_path / "model.weights.h5")
    assert other.evaluate(make_dataset(VALID, B, T), verbose=0) == model.evaluate(make_dataset(VALID, B, T), verbose=0)


def test_weights_move_to_and_from_keras_layers():
    model = small_model(init_scale=0.7)
    layers = [keras.layers.Embedding(V, 6), keras.layers.LSTM(8, return_sequences=True)]
    layers += [keras.layers.LSTM(7, return_sequences=True), keras.layers.Dense(V)]
    plain = keras.Sequential(layers)
    tokens = VALID[: B * T].reshape(B, T)
    plain(tokens)
    for ours, theirs in zip(model.layers[1:], layers, strict=True):
        theirs.set_weights(ours.get_weights())
    logits = model.predict(tokens, verbose=0)
    np.testing.assert_allclose(logits, plain.predict(tokens, verbose=0), atol=1e-5)
    back = small_model(seed=99)
    for ours, theirs in zip(back.layers[1:], layers, strict=True):
        ours.set_weights(theirs.get_weights())
    np.testing.assert_array_equal(back.predict(tokens, verbose=0), logits)


def test_tied_embeddings_train_save_and_come_back(tmp_path):
    arguments = {"vocabulary_size": V, "embedding_size": 6, "units": (8, 6), "batch_size": B, "num_steps": T}
    model = LanguageModel(**arguments, tie_embeddings=True, seed=1)
    # V D + V + the layers: no second V × H matrix.
    assert model.count_params() == V * 7 + 4 * 8 * (6 + 8 + 1) + 4 * 6 * (8 + 6 + 1)
    tokens = np.random.default_rng(0).integers(0, V, (2 * B, T)).astype("int32")
    targets = np.roll(tokens, -1, axis=1)
    model.compile()
    losses = model.fit(tokens, targets, epochs=3, verbose=0).history["loss"]
    assert losses[2] < losses[0]
    model.save_weights(tmp_path / "tied.weights.h5")
    other = LanguageModel(**arguments, tie_embeddings=True, seed=2)
    other.load_weights(tmp_path / "tied.weights.h5")
    np.testing.assert_array_equal(other.predict(tokens, verbose=0), model.predict(tokens, verbose=0))
    copy = LanguageModel.from_config(model.get_config())
    assert copy.tie_embeddings


def test_a_model_frozen_as_a_whole_thaws_as_a_whole():
    model = small_model()
    model.trainable = False
    copy = LanguageModel.from_config(json.loads(json.dumps(model.get_config())))
    assert not copy.trainable
    assert copy.trainable_weights == []
    copy.trainable = True
    assert len(copy.trainable_weights) == len(small_model().trainable_weights)


def test_a_policy_for_each_layer_is_saved_with_the_model(tmp_path):
    policies = keras.dtype_policies.DTypePolicyMap(default_policy="float32")
    policies["logits"] = "mixed_bfloat16"
    model = compiled_model(dtype=policies)
    model.fit(make_dataset(TRAIN, B, T), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.compute_dtype for layer in loaded.layers] == [layer.compute_dtype for layer in model.layers]
    assert loaded.get_layer("logits").compute_dtype == "bfloat16"
