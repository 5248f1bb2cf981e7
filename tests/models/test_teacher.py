"""A model that learns from another's distribution: its loss, and whose state and weights change."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax
from small_models import TRAIN, VALID, B, Losses, T, V

import kerasptb
from kerasptb.callbacks import ResetStates
from kerasptb.data import Vocabulary
from kerasptb.pipeline import make_dataset

X, Y = (TRAIN[i : i + 3 * B * T].reshape(3, B, T) for i in (0, 1))


def student_model(**kwargs):
    return kerasptb.LanguageModel(V, 6, (8, 6), B, T, init_scale=1.0, seed=3, **kwargs)


def teacher_model(**kwargs):
    return kerasptb.LanguageModel(V, 5, (9,), 2, 3, init_scale=1.0, seed=8, **kwargs)


def expected_losses(student, teacher, weight):
    """The costs of three batches by the formula, from the logits of whole rows, read from a zero state."""
    rows = np.concatenate(X, axis=1)
    of_student, of_teacher = (model.predict(rows, B, verbose=0).astype("float64") for model in (student, teacher))
    mixed = (1 - weight) * np.eye(V)[np.concatenate(Y, axis=1)] + weight * softmax(of_teacher, axis=-1)
    losses = -np.sum(mixed * log_softmax(of_student, axis=-1), axis=-1)
    return losses.reshape(B, 3, T).sum(axis=(0, 2)) / B


def fitted(student, jit_compile=False, epochs=1, **options):
    """The losses of the batches, with a rate of zero."""
    losses = Losses()
    student.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile, **options)
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    student.fit(data, epochs=epochs, verbose=0, callbacks=[ResetStates(), losses])
    return losses.values


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_loss_is_against_the_mean_of_targets_and_teacher(tied, jit_compile):
    student = student_model(tie_embeddings=tied)
    teacher = teacher_model(tie_embeddings=tied, projection=tied)
    student.distill(teacher, 0.7)
    expected = expected_losses(student, teacher, 0.7)
    # The running mean of Keras; in the second epoch the states begin anew.
    running = np.cumsum(expected) / [1, 2, 3]
    np.testing.assert_allclose(fitted(student, jit_compile, epochs=2), [*running, *running], rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
def test_gradients_are_those_of_the_formula(skip_without, tied, precision):
    skip_without(precision)
    student = student_model(tie_embeddings=tied, precision=precision)
    teacher, (x, y) = teacher_model(), (X[0], Y[0])
    q = softmax(teacher.predict(x, B, verbose=0), axis=-1)
    gradients = []
    for learns in (False, True):
        student.distill(teacher if learns else None, 0.4)
        student.reset_states()
        with tf.GradientTape() as tape:
            logits = student(x, training=True)
            if learns:
                loss = kerasptb.losses.SequenceCrossEntropy()(y, logits)
            else:
                mixed = 0.6 * tf.one_hot(y, V) + 0.4 * q
                loss = tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(mixed, logits)) / B
        gradients.append([tf.convert_to_tensor(g) for g in tape.gradient(loss, student.trainable_weights)])
    assert len(gradients[0]) == len(student.trainable_weights)
    tolerance = 1e-4 if precision == "float32" else 3e-2
    for found, wanted in zip(gradients[1], gradients[0], strict=True):
        np.testing.assert_allclose(found, wanted, atol=tolerance * np.abs(wanted).max())


def test_word_weights_count_for_both_parts():
    student, teacher = student_model(), teacher_model()
    student.distill(teacher, 0.7)
    student.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    weights = np.zeros((B, T), "float32")
    weights[:, 0] = 1
    first = student.train_on_batch(X[0], Y[0], sample_weight=weights)[0]
    x, y = X[0][:, :1], Y[0][:, :1]
    of_student, of_teacher = (model.predict(x, B, verbose=0)[:, 0].astype("float64") for model in (student, teacher))
    mixed = 0.3 * np.eye(V)[y[:, 0]] + 0.7 * softmax(of_teacher, axis=-1)
    assert first == pytest.approx(-np.sum(mixed * log_softmax(of_student, axis=-1)) / B, rel=1e-5)


def test_a_teacher_reads_every_word_and_leaves_no_penalties_behind():
    student = student_model()
    teacher = teacher_model(word_dropout=0.5, activation_regularization=2.0, keep_prob=0.5)
    student.distill(teacher, 1.0)
    student.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    seeds = [np.array(variable) for variable in teacher.non_trainable_variables]
    found = student.train_on_batch(X[0], Y[0])[0]
    assert not teacher.losses
    assert len(seeds) == 4  # of the words, and of dropout in three places
    for variable, seed in zip(teacher.non_trainable_variables, seeds, strict=True):
        np.testing.assert_array_equal(variable, seed)
    assert found == pytest.approx(expected_losses(student, teacher, 1.0)[0], rel=1e-5)


def test_a_reset_is_the_teacher_s_too_and_validation_leaves_its_state():
    student, teacher = student_model(), teacher_model()
    student.distill(teacher, 1.0)
    student.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    first = student.train_on_batch(X[0], Y[0])[0]
    student.evaluate(X[1], Y[1], verbose=0)
    expected = expected_losses(student, teacher, 1.0)
    assert student.train_on_batch(X[1], Y[1])[0] == pytest.approx(expected[1], rel=1e-5)
    student.reset_states()
    assert student.train_on_batch(X[0], Y[0])[0] == first == pytest.approx(expected[0], rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "scale"),
    [
        (kerasptb.losses.SparseCategoricalCrossentropy(), 1 / T),
        (kerasptb.losses.SparseCategoricalCrossentropy(ignore_class=-1), 1 / T),
        (kerasptb.losses.SparseCategoricalCrossentropy(reduction="sum"), B),
        (kerasptb.losses.SequenceCrossEntropy(reduction="sum"), B),
    ],
    ids=["mean", "ignoring", "sum of words", "sum of rows"],
)
def test_any_loss_that_asks_for_factors_is_taught(loss, scale):
    student, teacher = student_model(), teacher_model()
    student.distill(teacher, 0.7)
    student.compile(keras.optimizers.SGD(0.0), loss, jit_compile=False)
    assert student.train_on_batch(X[0], Y[0])[0] == pytest.approx(expected_losses(student, teacher, 0.7)[0] * scale)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_other_dtype_policies_learn_from_a_float32_teacher(policy):
    student, teacher = student_model(dtype=policy), teacher_model()
    student.distill(teacher, 0.7)
    student.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    rel = 2e-2 if policy == "mixed_bfloat16" else 1e-5
    assert student.train_on_batch(X[0], Y[0])[0] == pytest.approx(expected_losses(student, teacher, 0.7)[0], rel=rel)


def test_steps_of_one_program_are_taught(native_library):
    student, teacher = student_model(), teacher_model()
    student.distill(teacher, 0.7)
    running = np.cumsum(expected_losses(student, teacher, 0.7)) / [1, 2, 3]
    assert fitted(student, True, epochs=2, steps_per_execution=3) == pytest.approx([running[-1]] * 2, rel=1e-5)


def test_metrics_and_evaluation_are_of_the_targets_alone():
    results = []
    for learns in (False, True):
        student = student_model()
        student.distill(teacher_model() if learns else None, 0.9)
        student.compile(keras.optimizers.SGD(0.0), jit_compile=False)
        history = student.fit(make_dataset(TRAIN, B, T), validation_data=make_dataset(VALID, B, T), verbose=0).history
        results.append({name: history[name][0] for name in ("perplexity", "val_loss", "val_perplexity")})
        assert student.get_config() == student_model().get_config()
    assert results[1] == pytest.approx(results[0], rel=1e-6)


def test_nothing_of_the_teacher_changes_and_it_is_no_part_of_the_student(tmp_path):
    student, teacher = student_model(), teacher_model()
    before, tokens = [weight.copy() for weight in teacher.get_weights()], X[0]
    expected = teacher.predict(tokens, verbose=0)
    student.distill(teacher)
    student.compile(jit_compile=False)
    count = len(student.variables)
    student.fit(make_dataset(TRAIN, B, T), verbose=0)
    for weight, was in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)
    np.testing.assert_array_equal(teacher.predict(tokens, verbose=0), expected)
    assert len(student.variables) == count
    student.save(tmp_path / "student.keras")
    assert keras.saving.load_model(tmp_path / "student.keras").teacher is None


def test_it_is_let_go_by_steps_of_every_shape():
    student, alone = student_model(), student_model()
    for model in (student, alone):
        model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    shapes = (slice(None), slice(0, 3))
    found = []
    for teacher in (None, teacher_model(), None):
        student.distill(teacher, 1.0)
        student.reset_states()
        found.append([student.train_on_batch(X[0][:, shape], Y[0][:, shape])[0] for shape in shapes])
    assert found[0] == found[2] == [alone.train_on_batch(X[0][:, shape], Y[0][:, shape])[0] for shape in shapes]
    assert all(abs(a - b) > 0.01 for a, b in zip(found[0], found[1], strict=True))


def test_a_teacher_that_cannot_teach_is_refused():
    student = student_model()
    with pytest.raises(ValueError, match=r"`weight` must be .* at least 0 and at most 1. Received: weight=1.5"):
        student.distill(teacher_model(), 1.5)
    with pytest.raises(ValueError, match=r"the same tokens.* Received: one of 7 tokens, for a model of 23"):
        student.distill(kerasptb.LanguageModel(7, 5, 9, 2, 3))
    for wrong in (student, "runs/small"):
        with pytest.raises(ValueError, match=r"Expected another LanguageModel as the teacher. Received"):
            student.distill(wrong)
    teacher = teacher_model()
    student.distill(teacher)
    with pytest.raises(ValueError, match=r"needs the loss SequenceCrossEntropy or Sparse.* Received: loss"):
        student.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    for i, model in enumerate((student, teacher)):
        model.tokenizer = Vocabulary([f"{i}{word}" for word in range(V)])
    with pytest.raises(ValueError, match="the same tokens"):
        student.distill(teacher)
