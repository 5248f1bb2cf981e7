import types

import keras_tuner as kt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasptb
from kerasptb.arguments import ModelArguments
from kerasptb.presets import Facts, get_preset
from kerasptb.tuning import LanguageModelSpace
from kerasptb.tuning.bounds import FIELDS
from kerasptb.tuning.search_space import NOTEBOOK_PARAMETERS, count_parameters, shrink_widths

SIZES = list(range(32, 513, 32))


def _fits(limit, vocabulary_size=10000):
    return lambda widths: count_parameters(vocabulary_size, widths[0], widths[1:]) <= limit


def test_the_notebook_has_the_default_limit():
    assert count_parameters(10000, 200, (256, 128)) == NOTEBOOK_PARAMETERS == 3_955_088


@pytest.mark.parametrize("units", [(12,), (16, 12), (8, 20, 4)])
def test_parameters_are_counted_as_the_model_counts_them(units):
    model = kerasptb.build_language_model(50, 6, units, batch_size=2, num_steps=3)
    assert count_parameters(50, 6, units) == model.count_params()


@pytest.mark.parametrize("units", [(6,), (16, 6)])
def test_parameters_of_tied_embeddings_are_counted_as_the_model_counts_them(units):
    model = kerasptb.build_language_model(50, 6, units, batch_size=2, num_steps=3, tie_embeddings=True)
    assert count_parameters(50, 6, units, tie_embeddings=True) == model.count_params()


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_of_a_projection_are_counted_as_the_model_counts_them(tied):
    arguments = {"vocabulary_size": 50, "embedding_size": 6, "units": (8, 12), "batch_size": 2, "num_steps": 3}
    arguments |= {"tie_embeddings": tied, "projection": True}
    assert count_parameters(**arguments) == kerasptb.LanguageModel(**arguments).count_params()


@settings(max_examples=200)
@given(
    wanted=st.lists(st.sampled_from(SIZES), min_size=2, max_size=4),
    limit=st.integers(800_000, 8_000_000),
    vocabulary_size=st.sampled_from([1000, 10000]),
)
def test_widths_are_the_largest_that_fit(wanted, limit, vocabulary_size):
    allowed = [SIZES] * len(wanted)
    widths = shrink_widths(wanted, allowed, _fits(limit, vocabulary_size))
    assert count_parameters(vocabulary_size, widths[0], widths[1:]) <= limit
    for i, (width, want) in enumerate(zip(widths, wanted, strict=True)):
        assert width in SIZES
        assert width <= want
        if width < want:
            wider = [*widths[:i], width + 32, *widths[i + 1 :]]
            assert count_parameters(vocabulary_size, wider[0], wider[1:]) > limit


def test_widths_that_fit_stay():
    assert shrink_widths([128, 256, 128], [SIZES] * 3, _fits(NOTEBOOK_PARAMETERS)) == [128, 256, 128]


def test_widths_shrink_in_proportion():
    # The widths are twice too large, and both shrink.
    assert shrink_widths([320, 320], [SIZES] * 2, _fits(3_700_000)) == [160, 160]


def test_batches_are_made_smaller_until_the_texts_fill_one():
    space = LanguageModelSpace()
    space.prepare(num_words=900)
    for wanted, fitted in (((20, 35), (20, 35)), ((30, 30), (30, 25)), ((60, 20), (40, 20)), ((40, 35), (40, 20))):
        sample = {"batch_size": wanted[0], "num_steps": wanted[1], "keep_prob": 0.5}
        found = space.fit_sample(sample)
        assert (found["batch_size"], found["num_steps"], found["keep_prob"]) == (*fitted, 0.5)
        assert found["batch_size"] * (found["num_steps"] + 1) <= 900
    # The batch with the most words wins, even with fewer rows.
    few_rows = LanguageModelSpace(batch_size=[10, 20], num_steps=[5, 35])
    few_rows.prepare(num_words=400)
    assert few_rows.fit_sample({"batch_size": 20, "num_steps": 35}) == {"batch_size": 10, "num_steps": 35}
    fixed = LanguageModelSpace(batch_size=30)
    fixed.prepare(num_words=900)
    assert fixed.fit_sample({"num_steps": 35}) == {"num_steps": 25}
    with pytest.raises(ValueError, match=r"need texts of 420 words; .* Received: a text of .* of 419 words"):
        space.prepare(num_words=419)


def test_batches_of_a_subclass_are_its_own_to_choose():
    class Own(LanguageModelSpace):
        def settings(self, hp):
            return super().settings(hp) | {"batch_size": 4, "num_steps": 5}

    Own().prepare(num_words=140)


def test_a_random_sample_is_a_model_within_the_limit():
    space = LanguageModelSpace()
    space.prepare(vocabulary_size=10000)
    oracle = kt.oracles.RandomSearchOracle(kt.Objective("val_perplexity", "min"), seed=3)
    hp = oracle.get_space()
    space.declare_hyperparameters(hp)
    oracle.update_space(hp)
    layers, ties = set(), set()
    for _ in range(50):
        hp.values = space.fit_sample(oracle._random_values())
        chosen = space.settings(hp)
        layers.add(len(chosen["units"]))
        tied = chosen["tie_embeddings"]
        ties.add(tied)
        assert count_parameters(10000, chosen["embedding_size"], chosen["units"], tied) <= NOTEBOOK_PARAMETERS
        assert not tied or chosen["units"][-1] == chosen["embedding_size"]
        assert hp.values[f"units_{len(chosen['units']) - 1}"] == chosen["units"][-1]
        assert all(size % 32 == 0 for size in (chosen["embedding_size"], *chosen["units"]))
        assert 0.5 <= chosen["keep_prob"] <= 1
        assert 3 <= chosen["constant_epochs"] <= 10
        assert chosen["batch_size"] in (20, 30, 40, 60)
    assert layers == {1, 2}
    assert ties == {False, True}


def test_the_model_built_has_the_settings_chosen():
    space = LanguageModelSpace(
        num_layers=2, units=[24, 16], embedding_size=[12], keep_prob=0.5, batch_size=4, num_steps=3, learning_rate=2.0
    )
    space.prepare(vocabulary_size=50, max_parameters=100_000, backend="keras", seed=7)
    hp = kt.HyperParameters()
    space.declare_hyperparameters(hp)
    hp.values |= {"units_0": 16, "units_1": 24, "decay": 0.8, "constant_epochs": 4, "global_clipnorm": 3.0}
    model = space.build(hp)
    config = model.get_config()
    assert (config["embedding_size"], config["units"], config["keep_prob"]) == (12, [16, 24], 0.5)
    assert (config["batch_size"], config["num_steps"], config["backend"], config["seed"]) == (4, 3, "keras", 7)
    assert float(model.optimizer.learning_rate) == 2.0
    assert model.optimizer.global_clipnorm == 3.0
    assert space.training_arguments(hp) == {
        "learning_rate": 2.0,
        "constant_epochs": 4,
        "decay": 0.8,
        "global_clipnorm": 3.0,
    }


def test_a_tied_model_spends_on_layers_what_it_saves_on_the_output():
    space = LanguageModelSpace()
    space.prepare()
    values = {"num_layers": 2, "embedding_size": 256, "units_0": 512, "units_1": 128}
    tied = space.fit_sample({**values, "tie_embeddings": True, "units_0": 288, "units_1": 64})
    assert tied == {"num_layers": 2, "embedding_size": 256, "units_0": 288, "units_1": 256, "tie_embeddings": True}
    # 10,000 (256 + 1) + 4 · 288 (256 + 288 + 1) + 4 · 256 (288 + 256 + 1)
    assert count_parameters(10000, 256, (288, 256), tie_embeddings=True) == 3_755_920
    separate = space.fit_sample({**values, "tie_embeddings": False})
    assert separate["embedding_size"] < 256


def test_models_that_are_always_tied_are_counted_so():
    space = LanguageModelSpace(num_layers=1, tie_embeddings=True)
    space.prepare()
    values = {"embedding_size": 288, "units_0": 288}  # 3,554,704 parameters; with two matrices too many
    assert space.fit_sample(values) == values


def test_the_last_layer_of_a_tied_model_with_a_projection_has_a_size_of_its_own():
    space = LanguageModelSpace(preset="tuned", projection=True, units=(64, 512), embedding_size=[64])
    space.prepare(max_parameters=1_500_000)
    fitted = space.fit_sample({"units_0": 512})
    # 10,000 (64 + 1) + 4 · 416 (64 + 416 + 1) + (416 + 1) 64 = 1,477,072; with 448 there are 1,598,032
    assert fitted == {"units_0": 416}
    hp = kt.HyperParameters()
    hp.values |= fitted
    arguments = space.model_arguments(hp)
    assert (arguments["units"], arguments["projection"]) == ((416,), True)
    assert count_parameters(**arguments) == kerasptb.LanguageModel(**arguments).count_params()
    with pytest.raises(ValueError, match=r"Expected projection as True or False. Received: projection=\[False, True\]"):
        LanguageModelSpace(preset="tuned", projection=[False, True])


def test_a_limit_is_within_itself():
    space = LanguageModelSpace(num_layers=1, embedding_size=[8], units=[8], tie_embeddings=False)
    parameters = count_parameters(50, 8, (8,))
    space.prepare(vocabulary_size=50, max_parameters=parameters)
    with pytest.raises(ValueError, match=f"has {parameters:,} parameters"):
        space.prepare(vocabulary_size=50, max_parameters=parameters - 1)


def test_parameters_are_those_of_the_cell():
    limit = count_parameters(10000, 256, (256, 256), True, cell="gru")
    LanguageModelSpace(preset="small", cell="gru").prepare(10000, max_parameters=limit)
    either = LanguageModelSpace(preset="small", cell=["gru", "lstm"])
    with pytest.raises(ValueError, match="has 3,620,624 parameters"):
        either.prepare(10000, max_parameters=limit)
    either.prepare(10000, max_parameters=3_620_624)
    assert either.model_arguments(kt.HyperParameters())["cell"] == "gru"


@pytest.mark.parametrize(
    ("sizes", "limit", "offered"),
    [
        ({"embedding_size": [100], "units": (64, 128)}, NOTEBOOK_PARAMETERS, False),
        ({"embedding_size": [200], "units": [200]}, 3_000_000, True),
    ],
)
def test_tying_is_searched_where_sizes_allow_both(sizes, limit, offered):
    space = LanguageModelSpace(num_layers=1, **sizes)
    space.prepare(max_parameters=limit)
    hp = kt.HyperParameters()
    assert space.settings(hp)["tie_embeddings"] is offered
    assert "tie_embeddings" not in hp.values


@pytest.mark.parametrize(
    ("name", "bounds", "expected"),
    [
        ("keep_prob", (0.5, 1.0), [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]),
        ("keep_prob", (0.8, 0.9), [0.8, 0.85, 0.9]),
        ("decay", (0.4, 0.9), [0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]),
        ("num_layers", (1, 3), [1, 2, 3]),
        ("patience", (2, 4), [2, 3, 4]),
    ],
)
def test_the_ends_of_a_range_are_drawn(name, bounds, expected):
    space = LanguageModelSpace(preset="awd-lstm" if name == "patience" else "notebook", **{name: bounds})
    hp = kt.HyperParameters()
    space.declare_hyperparameters(hp)
    (setting,) = [setting for setting in hp.space if setting.name == name]
    drawn = set()
    for i in range(1000):
        hp.values[name] = setting.prob_to_value((i + 0.5) / 1000)
        drawn.add(space._declare(hp, name))
    assert sorted(drawn) == expected


def test_fixed_settings_are_not_searched():
    space = LanguageModelSpace(num_layers=1, units=(64, 128), embedding_size=64, keep_prob=[0.6, 0.8], decay=0.5)
    hp = kt.HyperParameters()
    space.declare_hyperparameters(hp)
    assert {"num_layers", "embedding_size", "decay", "units_1"}.isdisjoint(hp.values)
    assert {"units_0", "keep_prob"} <= set(hp.values)


def test_the_layers_that_a_model_does_not_have_are_inactive():
    space = LanguageModelSpace(num_layers=(1, 3))
    hp = kt.HyperParameters()
    space.declare_hyperparameters(hp)
    assert [name for name in hp.values if name.startswith("units")] == ["units_0"]
    assert len([setting for setting in hp.space if setting.name.startswith("units")]) == 3


def test_a_space_above_the_notebooks_size_is_held_to_the_searchs_limit_alone():
    space = LanguageModelSpace(num_layers=2, units=[640], embedding_size=[640])
    space.prepare(max_parameters=20_000_000)
    with pytest.raises(ValueError, match="has 12,968,720 parameters; widen the space downwards or allow more"):
        space.prepare()


def test_bounds_that_cannot_be_drawn_from_are_told_at_once():
    with pytest.raises(ValueError, match="`learning_rate` must be a number above 0"):
        LanguageModelSpace(learning_rate=(0.0, 1.0))


def test_a_fixed_width_does_not_shrink():
    space = LanguageModelSpace(num_layers=1, embedding_size=[200], units=(64, 512))
    space.prepare()
    assert space.fit_sample({"embedding_size": 200, "units_0": 512}) == {"embedding_size": 200, "units_0": 160}


def test_bounds_survive_their_config():
    space = LanguageModelSpace(num_layers=1, units=(64, 96), batch_size=[8, 4], init_scale=0.05)
    assert LanguageModelSpace.from_config(space.get_config()).bounds == space.bounds


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"units": (60, 512)}, r"units.*multiples.*Received: units=\(60, 512\)"),
        ({"keep_prob": (0.9, 0.5)}, r"keep_prob as \(low, high\).*Received: keep_prob=\(0.9, 0.5\)"),
        ({"decay": (0.52, 0.6)}, r"decay goes in steps of 0.05.*Received: decay=\(0.52, 0.6\)"),
        ({"batch_size": []}, r"at least one choice of batch_size"),
        ({"tie_embeddings": "yes"}, r"tie_embeddings as True, False or a list of both. Received: tie_embeddings=yes"),
        ({"variational_dropout": (False, True)}, r"variational_dropout as True, False or a list of both"),
        ({"tie_embeddings": True, "embedding_size": [100]}, r"both an embedding and a layer may have.*\[100\]"),
    ],
)
def test_bounds_that_mean_nothing_are_refused(bounds, message):
    with pytest.raises(ValueError, match=message):
        LanguageModelSpace(**bounds)


def test_a_limit_below_the_smallest_model_is_refused():
    space = LanguageModelSpace()
    with pytest.raises(ValueError, match=r"smallest model.*2 layers has 716,048 parameters.*max_parameters=1000"):
        space.prepare(vocabulary_size=10000, max_parameters=1000)


def test_the_model_built_has_the_precision_of_the_search(monkeypatch):
    asked = {}
    model = types.SimpleNamespace(compile=lambda *_, **__: None)
    monkeypatch.setattr(kerasptb, "LanguageModel", lambda *args, **kwargs: asked.update(kwargs) or model)
    space = LanguageModelSpace()
    space.prepare(backend="native", precision="bfloat16")
    space.build(kt.HyperParameters())
    assert (asked["backend"], asked["precision"]) == ("native", "bfloat16")


def test_a_space_of_another_recipe_keeps_what_it_does_not_name():
    space = LanguageModelSpace(preset="small", learning_rate=(2e-3, 1e-2), output_dropout=(0.3, 0.5))
    hp = kt.HyperParameters()
    found = space.settings(hp)
    assert {parameter.name for parameter in hp.space} == {"learning_rate", "output_dropout"}
    preset = get_preset("small")
    arguments = {**space.model_arguments(hp), "output_dropout": preset.model["output_dropout"]}
    assert {name: arguments[name] for name in preset.model_arguments()} == preset.model_arguments()
    assert found["output_dropout"] == 0.3
    assert space.training_arguments(hp) == {**preset.settings, "learning_rate": found["learning_rate"]}
    assert LanguageModelSpace.from_config(space.get_config()).get_config() == space.get_config()
    with pytest.raises(ValueError, match=r"Expected settings of small among .*Received: \['constant_epochs'\]"):
        LanguageModelSpace(preset="small", constant_epochs=3)


def test_a_recipe_whose_layers_differ_is_built_as_it_is():
    space = LanguageModelSpace(preset="awd-lstm")
    assert space.model_arguments(kt.HyperParameters())["units"] == (1150, 1150, 400)


def test_the_notebooks_space_takes_regularisation():
    space = LanguageModelSpace(variational_dropout=[False, True], recurrent_kernel_dropout=(0.0, 0.5))
    hp = kt.HyperParameters()
    arguments = space.model_arguments(hp)
    assert {"variational_dropout", "recurrent_kernel_dropout"} <= {parameter.name for parameter in hp.space}
    assert arguments["recurrent_kernel_dropout"] == 0.0
    assert ModelArguments(**{**arguments, "vocabulary_size": 10}).variational_dropout is False


@pytest.mark.parametrize("bounds", [{"output_dropout": (0.5, 1.0)}, {"keep_prob": [0.0, 0.5]}, {"batch_size": [0]}])
def test_bounds_are_values_that_a_training_takes(bounds):
    with pytest.raises(ValueError, match=rf"`{next(iter(bounds))}` must be .*Received"):
        LanguageModelSpace(**bounds)


def test_one_tied_layer_may_be_larger_than_two():
    space = LanguageModelSpace(embedding_size=(256, 320), units=(64, 512), tie_embeddings=True)
    with pytest.raises(ValueError, match="with 1 layers has 3,095,312 parameters"):
        space.prepare(10_000, max_parameters=3_000_000)
    space.prepare(10_000, max_parameters=3_100_000)


def test_a_space_around_a_recipe_varies_its_rate_and_its_regularisation():
    space = LanguageModelSpace.around("small")
    preset = get_preset("small")
    model, training = preset.model_arguments(), preset.settings
    assert space.bounds["learning_rate"] == pytest.approx(
        (training["learning_rate"] / 3, 3 * training["learning_rate"]), rel=0.01
    )
    low, high = space.bounds["input_dropout"]
    assert (low, high) == pytest.approx((model["input_dropout"] - 0.15, model["input_dropout"] + 0.15))
    assert space.bounds["word_dropout"] == pytest.approx((0.0, 0.2))
    assert (space.bounds["embedding_size"], space.bounds["batch_size"]) == (256, 32)
    assert LanguageModelSpace.around("notebook").get_config() == LanguageModelSpace().get_config()


def test_a_space_around_auto_is_for_the_text_and_the_epochs():
    facts = Facts(30_000, passes=23.5)
    fitted, space = get_preset("auto", facts).fitted, LanguageModelSpace.around("auto", facts)
    assert space.bounds["batch_size"] == fitted["batch_size"] == 8
    assert fitted["output_dropout"] == pytest.approx(0.175, abs=0.001)
    assert (space.bounds["output_dropout"], space.bounds["word_dropout"]) == ((0.0, 0.3), (0.0, 0.2))
    assert space.bounds["num_steps"] == 35


def test_what_is_searched_is_said():
    space = LanguageModelSpace(units=64, keep_prob=1.0, batch_size=[20, 40])
    space.prepare(epochs=30)
    said = space.describe()
    assert said.startswith("num_layers 1 to 2, embedding_size 64 to 320, tie_embeddings False/True, learning_rate 0.5 ")
    assert "constant_epochs 6 to 20, " in said
    assert "batch_size 20/40, " in said


@pytest.mark.slow
def test_a_tuner_of_kerastuners_own_searches_a_corpus(corpus, tmp_path):
    space = LanguageModelSpace(
        num_layers=1, units=32, embedding_size=32, tie_embeddings=True, batch_size=[5, 10], num_steps=5, keep_prob=1.0
    )

    def search(*args, **kwargs):
        tuner = kt.RandomSearch(
            space, kt.Objective("val_perplexity", "min"), max_trials=2, seed=1, directory=tmp_path, overwrite=True
        )
        tuner.search(*args, verbose=0, **kwargs)
        return tuner.oracle.get_best_trials(2)

    with pytest.raises(kt.errors.FatalValueError, match=r"call `space.prepare\(23\)` before .* 10000 words"):
        search(corpus=corpus)
    space.prepare(len(corpus.vocabulary), epochs=1, seed=1)
    with pytest.raises(kt.errors.FatalValueError, match="Received: data"):
        search(kerasptb.make_dataset(corpus.train, 5, 5))
    for trial in search(corpus=corpus):
        values = trial.hyperparameters.values
        model, preset = space.build(trial.hyperparameters), get_preset("notebook")
        batches, valid = (kerasptb.make_dataset(text, values["batch_size"], 5) for text in (corpus.train, corpus.valid))
        optimizer, callbacks = preset.training(len(batches), 1, **space.training_arguments(trial.hyperparameters))
        model.compile(optimizer)
        callbacks = [kerasptb.callbacks.ResetStates(), *callbacks]
        history = model.fit(batches, validation_data=valid, callbacks=callbacks, verbose=0).history
        assert trial.score == pytest.approx(history["val_perplexity"][0], rel=1e-5)


def shown(name, bounds, sampling):
    """What the documentation says of a setting's bounds."""
    if name == "constant_epochs":
        return "a fifth to two thirds of the epochs"
    if isinstance(bounds, list):
        return "both" if bounds == [False, True] else ", ".join(map(str, bounds))
    by = ", log" if sampling.log else f", by {sampling.step:g}" if sampling.step != 1 else ""
    return f"{bounds[0]:g} to {bounds[1]:g}{by}"


def test_the_docstrings_table_is_that_of_the_notebooks_search():
    _, _, *rows = (line.strip() for line in LanguageModelSpace.__doc__.splitlines() if line.strip().startswith("|"))
    found = {name: (bounds, FIELDS[name].sampling) for name, bounds in LanguageModelSpace().bounds.items()}
    assert [row.rpartition(" | ")[0] for row in rows] == [f"| `{name}` | {shown(name, *found[name])}" for name in found]


@pytest.mark.parametrize("name", ["sample", "tuned", "zaremba-medium", "tied-650"])
def test_a_space_around_a_recipe_varies_the_keep_prob_that_stands_for_its_rates(name):
    keep_prob = get_preset(name).model_arguments()["keep_prob"]
    assert LanguageModelSpace.around(name).bounds["keep_prob"] == pytest.approx((keep_prob - 0.15, keep_prob + 0.15))


def test_a_keep_prob_that_is_searched_replaces_the_recipes_rates():
    space = LanguageModelSpace(preset="small", keep_prob=(0.5, 0.8), hidden_dropout=0.1)
    hp = kt.HyperParameters()
    hp.Fixed("keep_prob", 0.6)
    arguments = space.model_arguments(hp)
    assert "input_dropout" not in arguments
    assert "output_dropout" not in arguments
    assert (arguments["keep_prob"], arguments["hidden_dropout"], arguments["word_dropout"]) == (0.6, 0.1, 0.05)
