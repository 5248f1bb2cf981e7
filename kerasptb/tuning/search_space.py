"""The models and training settings that a search chooses among."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import keras
import keras_tuner as kt
import numpy as np

import kerasptb
from kerasptb.arguments import RECIPE_ARGUMENTS, ModelArguments, with_changes
from kerasptb.cells import CELLS
from kerasptb.presets import Facts, Recipe, get_preset
from kerasptb.runs.settings import RunSettings
from kerasptb.tuning import bounds as of_setting
from kerasptb.tuning.bounds import FIELDS, Bounds, allowed
from kerasptb.tuning.settings import NOTEBOOK_PARAMETERS
from kerasptb.utils.types import Backend, Precision


class LanguageModelSpace(kt.HyperModel):
    """The search space of `kerasptb.LanguageModel` and its training.

    Each argument says what one setting may be: a tuple `(low, high)` is a range with both ends, a list holds the
    choices, and a plain value fixes the setting. A script names only the settings that differ from the defaults:

    >>> space = LanguageModelSpace(num_layers=1, units=(128, 256), batch_size=[20, 40], init_scale=0.05)

    The number of parameters never exceeds `max_parameters` (see `prepare`): sampled widths that are too large shrink,
    in proportion, to the largest that fit. Batches for which the texts are too short are made smaller, too (see
    `fit_sample`). The settings are recorded as they were trained.

    The bounds, for a model of the notebook's size that trains for some 15 epochs:

    | setting | default | reason |
    |---|---|---|
    | `num_layers` | 1 to 2 | the vocabulary's matrices take most parameters; a third layer makes all layers narrow |
    | `units` | 64 to 512, by 32 | blocks of the native kernels; below a last layer of 128, 512 still fit |
    | `embedding_size` | 64 to 320, by 32 | 320 alone is four fifths of the notebook's parameters |
    | `tie_embeddings` | both | one matrix less leaves room for wider layers; the last is as wide as the embedding |
    | `keep_prob` | 0.5 to 1, by 0.05 | 1 is the notebook's; 0.5 suits five times its size (Zaremba et al., 2014) |
    | `learning_rate` | 0.5 to 2, log | around the notebook's 1.0, in a range that clipping keeps stable |
    | `decay` | 0.4 to 0.9, by 0.05 | the notebook's is 0.5; published schedules with dropout divide by 1.15 to 1.2 |
    | `constant_epochs` | a fifth to two thirds of the epochs | some epochs must be left for the rate to fall |
    | `global_clipnorm` | 2 to 10, log | around the notebook's 5 |
    | `batch_size` | 20, 30, 40, 60 | the smaller, the more steps an epoch has; below 20 a core idles |
    | `num_steps` | 20, 25, 30, 35 | what the published models of this kind use |
    | `init_scale` | 0.04 to 0.1, log | published from 0.04 (1500 units) to 0.1 (200 units) |

    A space may take another recipe of `kerasptb.presets`. What is not named has the recipe's own value then, and all
    settings of its training may be searched, such as the `weight_decay` of "small":

    >>> space = LanguageModelSpace(preset="small", learning_rate=(2e-3, 1e-2), output_dropout=(0.3, 0.5))

    A space of one's own is a subclass that overrides `settings`, or any `keras_tuner.HyperModel`; see `tuning.tune`.

    Args:
        num_layers: number of LSTM layers.
        units: size H of an LSTM layer, chosen for each layer.
        embedding_size: size D of a word's vector.
        tie_embeddings: whether the output matrix is the embedding's (`kerasptb.LanguageModel`); a list of both leaves
            the choice to the search where `embedding_size` and `units` have a size in common.
        keep_prob: probability of keeping a unit in dropout.
        learning_rate: step size of the first epochs, or the largest one of a recipe whose rate varies.
        decay: factor of the rate in each epoch after the `constant_epochs`.
        constant_epochs: number of epochs at the first rate; not given, a fifth to two thirds of all.
        global_clipnorm: largest global norm of the gradients of the cost summed over time.
        batch_size: rows B of a batch.
        num_steps: words T of a row.
        init_scale: weights begin uniform in ±init_scale.
        preset: name of the recipe that is varied.
        **others: further settings: arguments of `kerasptb.LanguageModel` that regularise, such as `hidden_dropout` (by
            0.05) or `activation_regularization` (log), `projection` (a value), and settings of the recipe's training.

    Raises:
        ValueError: if a range is empty, if its ends are not a whole number of steps apart or (widths) not multiples of
            32, or if embeddings must be tied and no size is allowed for both an embedding and a layer.
    """

    def __init__(
        self,
        num_layers: Bounds = None,
        units: Bounds = None,
        embedding_size: Bounds = None,
        tie_embeddings: bool | list[bool] | None = None,
        keep_prob: Bounds = None,
        learning_rate: Bounds = None,
        decay: Bounds = None,
        constant_epochs: Bounds = None,
        global_clipnorm: Bounds = None,
        batch_size: Bounds = None,
        num_steps: Bounds = None,
        init_scale: Bounds = None,
        preset: str = "notebook",
        **others: Any,
    ) -> None:
        arguments = {**{name: bounds for name, bounds in locals().items() if name in FIELDS}, **others}
        super().__init__()
        self.preset = preset
        self.recipe = recipe = get_preset(preset)
        named = {name: bounds for name, bounds in arguments.items() if bounds is not None}
        known = [name for name in FIELDS if name not in RECIPE_ARGUMENTS or name in recipe.settings]
        if unknown := sorted(set(named) - set(known)):
            raise ValueError(f"Expected settings of {preset} among {sorted(known)}. Received: {unknown}")
        unnamed = recipe.search or _values_of(recipe)
        self._has_one_shape = not of_setting.leaves_choice(unnamed["units"])
        self.bounds = with_changes(unnamed, named)
        for name, bounds in self.bounds.items():
            of_setting.check(name, bounds)
        if not self._ties_possible():
            raise ValueError(
                "Tied embeddings need a size that both an embedding and a layer may have. "
                f"Received: embedding_size={embedding_size}, units={units}"
            )
        self.prepare(max_parameters=sys.maxsize)  # `tune` gives the limit later
        self.declare_hyperparameters(kt.HyperParameters())  # raises for what KerasTuner cannot draw

    @classmethod
    def around(cls, preset: str, facts: Facts | None = None) -> Self:
        """Returns a space around a recipe: its rate and how it is regularised, the model's sizes as they are.

        Learning rate, weight decay and penalties from a third of the recipe's to three times as much, on a logarithmic
        scale; each rate of dropout that the recipe has, or the `keep_prob` that stands for them, from 0.15 below the
        multiple of 0.05 next to it to 0.15 above that. A recipe with bounds of its own, the notebook's, has these.

        Args:
            preset: name of a recipe in `kerasptb.presets`.
            facts: what the recipe may go by, such as the text's length and the epochs of a trial; `None` for a long
                text.
        """
        recipe = get_preset(preset, facts)
        return cls(preset=preset) if recipe.search else cls._around(preset, _values_of(recipe))

    @classmethod
    def around_training(cls, settings: RunSettings) -> Self:
        """Returns a space around a training: that around its recipe, but with the sizes of what it begins with.

        Args:
            settings: the training's.

        Raises:
            ValueError: if it begins with a run whose layers are of several sizes.
        """
        training, model = settings.training, settings.model.as_dict()
        if training.start_from is None and (plain := cls(preset=training.preset)).recipe.search:
            return plain
        of_model = {name: value for name, value in model.items() if name in FIELDS}
        space = cls._around(training.preset, _as_bounds(of_model, settings.recipe))
        if (units := space.settings(kt.HyperParameters())["units"]) != model["units"]:
            raise ValueError(
                f"Expected a run whose layers are of one size, as those of a search are, such as {units}. "
                f"Received: start_from={training.start_from!r} with units={model['units']}"
            )
        return space

    @classmethod
    def _around(cls, preset: str, values: dict[str, Any]) -> Self:
        ranges = {name: of_setting.around(name, value) for name, value in values.items()}
        return cls(preset=preset, **{**values, **{name: ends for name, ends in ranges.items() if ends is not None}})

    def prepare(
        self,
        vocabulary_size: int = 10000,
        epochs: int = 15,
        max_parameters: int = NOTEBOOK_PARAMETERS,
        backend: Backend | None = None,
        precision: Precision | None = None,
        seed: int | None = None,
        num_words: int = sys.maxsize,
    ) -> None:
        """Tells the space what all its models have in common; `tune` calls it.

        Args:
            vocabulary_size: number V of words.
            epochs: number of epochs of a whole training.
            max_parameters: the most parameters a model may have.
            backend: see `kerasptb.LanguageModel`; `None` for "auto".
            precision: see `kerasptb.LanguageModel`; `None` for "float32".
            seed: seed of every model's weights and dropout.
            num_words: number of words in the training or the validation text, whichever is shorter.

        Raises:
            ValueError: if the smallest model of the space has more than `max_parameters`, or the text is too short for
                its smallest batch.
        """
        own_settings = type(self).settings is not LanguageModelSpace.settings  # which may draw smaller batches
        rows, steps = (min(self._allowed(name)) for name in ("batch_size", "num_steps"))
        if rows * (steps + 1) > num_words and not own_settings:
            raise ValueError(
                f"The smallest batches of the space, batch_size={rows} and num_steps={steps}, need texts of "
                f"{rows * (steps + 1):,} words; narrow the space to smaller ones. Received: a text of training or "
                f"validation of {num_words:,} words"
            )
        self.vocabulary_size, self.num_words = vocabulary_size, num_words
        self.epochs, self.max_parameters = epochs, max_parameters
        self.backend, self.precision, self.seed = backend or "auto", precision or "float32", seed
        # A tied layer alone is as wide as the embedding, so that more layers may be smaller.
        smallest = {
            tied: max(
                (self._count([min(sizes) for sizes in self._widths_allowed(layers, tied)], tied), layers)
                for layers in self._allowed("num_layers")
            )
            for tied in self._ties_possible()
        }
        self._ties = [tied for tied, (parameters, _) in smallest.items() if parameters <= max_parameters]
        if not self._ties:
            parameters, layers = min(smallest.values())
            raise ValueError(
                f"The smallest model of the space with {layers} layers has {parameters:,} parameters; "
                f"widen the space downwards or allow more. Received: max_parameters={max_parameters}"
            )

    def settings(self, hp: kt.HyperParameters) -> dict[str, Any]:
        """Returns the settings of a trial, and declares them to KerasTuner on the way.

        Args:
            hp: a `keras_tuner.HyperParameters`.

        Returns:
            Dict of the space's settings by name, "units" a tuple, and "num_layers" not among them.
        """
        num_layers, most = self._declare(hp, "num_layers"), max(self._allowed("num_layers"))
        units = [self._declare(hp, "units", "units_0")]
        for i in range(1, most):
            # With fewer layers the setting is inactive: it is None, and no tuner counts it.
            scope = hp.conditional_scope("num_layers", list(range(i + 1, most + 1)))
            with scope if "num_layers" in hp.values else contextlib.nullcontext():
                units.append(self._declare(hp, "units", f"units_{i}"))
        others = [name for name in self.bounds if name not in ("num_layers", "units")]
        settings = {"units": tuple(units[:num_layers]), **{name: self._declare(hp, name) for name in others}}
        if self._joins(settings["tie_embeddings"]):
            settings["units"] = (*settings["units"][:-1], settings["embedding_size"])
        return settings

    def declare_hyperparameters(self, hp: kt.HyperParameters) -> None:
        """Declares every setting; part of KerasTuner's contract."""
        self.settings(hp)

    def model_arguments(self, hp: kt.HyperParameters) -> dict[str, Any]:
        """Returns a trial's arguments of `kerasptb.LanguageModel`, a dict."""
        settings = self.settings(hp)
        return {
            "vocabulary_size": self.vocabulary_size,
            **{name: settings[name] for name in ModelArguments.fields() if name in settings},
            "backend": self.backend,
            "precision": self.precision,
            "seed": self.seed,
        }

    def training_arguments(self, hp: kt.HyperParameters) -> dict[str, Any]:
        """Returns what `kerasptb.train` takes as `training_arguments`, a dict."""
        settings = self.settings(hp)
        return {name: settings[name] for name in self.recipe.settings}

    def build(self, hp: kt.HyperParameters) -> kerasptb.LanguageModel:
        """Returns a trial's compiled `kerasptb.LanguageModel`; for a subclass with a `fit` of its own.

        A rate that varies with the steps does so over `epochs` of the shorter text's batches: compile again with
        `space.recipe.training(...)` where that matters.
        """
        model, training = kerasptb.LanguageModel(**self.model_arguments(hp)), self.training_arguments(hp)
        rows, steps = (self.model_arguments(hp)[name] for name in ("batch_size", "num_steps"))
        batches = max((self.num_words // rows - 1) // steps, 1)
        optimizer, _ = self.recipe.training(batches, self.epochs, **training)
        model.compile(optimizer)
        return model

    def fit(
        self,
        hp: kt.HyperParameters,
        model: kerasptb.LanguageModel,
        *args: Any,
        corpus: kerasptb.Corpus | None = None,
        epochs: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: str | int = "auto",
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains a trial's model in one of KerasTuner's own tuners; `tune` trains otherwise, with checkpoints.

        >>> space.prepare(len(corpus.vocabulary), epochs=15)  # doctest: +SKIP
        >>> tuner = kt.RandomSearch(space, kt.Objective("val_perplexity", "min"), max_trials=20)  # doctest: +SKIP
        >>> tuner.search(corpus=corpus)  # doctest: +SKIP

        Such a tuner does not keep models within `max_parameters`: give it a `max_model_size`.

        Args:
            hp: a `keras_tuner.HyperParameters`.
            model: what `build` returned.
            *args: none: batches are cut from the corpus, in each trial's own sizes.
            corpus: the `kerasptb.Corpus`.
            epochs: number of epochs; `None` for that of `prepare`.
            callbacks: those of KerasTuner.
            verbose: as in `keras.Model.fit`, like what is returned.
            **kwargs: further arguments of `keras.Model.fit`.

        Raises:
            keras_tuner.errors.FatalValueError: if batches are given in place of a corpus, or the space was prepared for
                another vocabulary.
        """
        if args or corpus is None:
            raise kt.errors.FatalValueError(
                "Each trial has batches of its own sizes: expected `tuner.search(corpus=corpus)`, or `tuning.tune`. "
                f"Received: {'data' if args else 'no corpus'}"
            )
        if model.vocabulary_size != (words := len(corpus.vocabulary)):
            raise kt.errors.FatalValueError(
                f"Expected a space for the corpus's {words} words: call `space.prepare({words})` before the tuner is "
                f"made. Received: one for {model.vocabulary_size} words"
            )
        texts = (corpus.train, corpus.valid)
        batches, valid = (kerasptb.make_dataset(text, model.batch_size, model.num_steps) for text in texts)
        epochs = epochs or self.epochs
        optimizer, of_recipe = self.recipe.training(len(batches), epochs, **self.training_arguments(hp))
        model.compile(optimizer)
        callbacks = [kerasptb.callbacks.ResetStates(), *of_recipe, *callbacks]
        return model.fit(batches, epochs=epochs, validation_data=valid, callbacks=callbacks, verbose=verbose, **kwargs)

    def fit_sample(self, values: dict[str, Any]) -> dict[str, Any]:
        """Returns a sample, made smaller until its model has at most `max_parameters` and its batches fit the texts.

        Args:
            values: dict, a tuner's sample: names of settings and their values. "embedding_size" and "units_0", …,
                "batch_size" and "num_steps" are made smaller where necessary, unless a subclass has others in their
                place.
        """
        return self._fit_batches(self._fit_widths(values))

    def _fit_batches(self, values: dict[str, Any]) -> dict[str, Any]:
        names = ("batch_size", "num_steps")
        wanted = [values.get(name, self.bounds[name]) for name in names]
        if not all(isinstance(size, int) for size in wanted):
            return values
        sizes_of = map(self._allowed, names)
        rows, steps = ([size for size in sizes if size <= want] for sizes, want in zip(sizes_of, wanted, strict=True))
        fitting = [(b, t) for b in rows for t in steps if b * (t + 1) <= self.num_words]
        if not fitting:
            return values
        largest = max(fitting, key=lambda sizes: (sizes[0] * sizes[1], sizes))
        return {**values, **{name: size for name, size in zip(names, largest, strict=True) if name in values}}

    def _fit_widths(self, values: dict[str, Any]) -> dict[str, Any]:
        num_layers = values.get("num_layers", self.bounds["num_layers"])
        if not isinstance(num_layers, int):
            return values
        tied = values.get("tie_embeddings", self._ties[0])
        names = ["embedding_size", *(f"units_{i}" for i in range(num_layers))]
        last = names.pop() if self._joins(tied) else None
        allowed = self._widths_allowed(num_layers, tied)
        wanted = [values.get(name, max(sizes)) for name, sizes in zip(names, allowed, strict=True)]
        widths = shrink_widths(wanted, allowed, lambda widths: self._count(widths, tied) <= self.max_parameters)
        fitted = {**values, **{name: w for name, w in zip(names, widths, strict=True) if name in values}}
        if last in values:
            fitted[last] = widths[0]
        return fitted

    def describe(self) -> str:
        """Returns what is searched, for people to read: the settings that are drawn, and within which bounds."""
        bounds_of = {name: self._bounds_of(name) for name in self.bounds}
        drawn = {name: bounds for name, bounds in bounds_of.items() if of_setting.leaves_choice(bounds)}
        return ", ".join(of_setting.describe(name, bounds) for name, bounds in drawn.items()) or "nothing"

    def get_config(self) -> dict[str, Any]:
        """Returns the recipe and the bounds for JSON: `{"range": [low, high]}`, `{"choices": [...]}` or a value."""
        return {"preset": self.preset, **{name: of_setting.to_config(bounds) for name, bounds in self.bounds.items()}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns the space with the bounds that `get_config` returned."""
        return cls(**{name: of_setting.from_config(bounds) for name, bounds in config.items()})

    def _allowed(self, name: str) -> list[int]:
        return allowed(name, self.bounds[name])

    def _widths_allowed(self, num_layers: int, tied: bool) -> list[list[int]]:
        """Returns the possible sizes of the embedding and of each layer, without a last one that has the former's."""
        units = self._allowed("units")
        if self._joins(tied):
            return [self._tied_widths(), *[units] * (num_layers - 1)]
        return [self._allowed("embedding_size"), *[units] * num_layers]

    def _joins(self, tied: bool) -> bool:
        """Whether the last layer has the embedding's size."""
        return tied and not self.bounds.get("projection")

    def _count(self, widths: Sequence[int], tied: bool) -> int:
        """Counts the parameters of a model of `_widths_allowed`; where the cell is drawn, with that which has most."""
        embedding_size, *units = [*widths, widths[0]] if self._joins(tied) else widths
        projection, cells = self.bounds.get("projection", False), self.bounds.get("cell", "lstm")
        sizes = self.vocabulary_size, embedding_size, units, tied, projection
        return max(count_parameters(*sizes, cell) for cell in (cells if isinstance(cells, list) else [cells]))

    def _tied_widths(self) -> list[int]:
        """Returns the sizes that an embedding and a layer may both have, rising."""
        sizes, units = map(self._allowed, ("embedding_size", "units"))
        if self._has_one_shape and not of_setting.leaves_choice(self.bounds["units"]):
            return sizes  # as in the recipe, the last layer has the embedding's size, the others those of `units`
        return [size for size in sizes if size in units]

    def _ties_possible(self) -> list[bool]:
        wanted = sorted(set(map(bool, self._allowed("tie_embeddings"))))
        return [tied for tied in wanted if not self._joins(tied) or self._tied_widths()]

    def _bounds_of(self, name: str) -> Any:
        if name == "constant_epochs" and self.bounds[name] is None:
            return max(self.epochs // 5, 1), max(2 * self.epochs // 3, 1)
        return self.bounds[name]

    def _declare(self, hp: kt.HyperParameters, name: str, as_name: str | None = None) -> Any:
        if name == "tie_embeddings":
            return hp.Boolean(name) if len(self._ties) > 1 else self._ties[0]
        return of_setting.draw(hp, name, self._bounds_of(name), as_name or name)


def overrides_fit(hypermodel: kt.HyperModel) -> bool:
    """Whether a `keras_tuner.HyperModel` trains its models itself."""
    return type(hypermodel).fit not in (kt.HyperModel.fit, LanguageModelSpace.fit)


def trains_any_model(hypermodel: kt.HyperModel) -> bool:
    """Whether a `keras_tuner.HyperModel` builds and trains models that need not be of language."""
    return overrides_fit(hypermodel) and not isinstance(hypermodel, LanguageModelSpace)


def yields_settings(hypermodel: kt.HyperModel) -> bool:
    """Whether a space's settings alone say how to train, so that it need not build a model."""
    return type(hypermodel).build is LanguageModelSpace.build and not overrides_fit(hypermodel)


def count_parameters(
    vocabulary_size: int,
    embedding_size: int,
    units: int | Sequence[int],
    tie_embeddings: bool = False,
    projection: bool = False,
    cell: str = "lstm",
    **others: Any,
) -> int:
    """Returns the number of parameters of a `kerasptb.LanguageModel` of these arguments.

    `V D + Σ 4 H_i (H_{i-1} + H_i + 1) + H_n V + V`, with `H_0 = D`: embedding, LSTM layers (or what `cell` has),
    logits. With a projection there are `(H_n + 1) D` more, and the logits have `D V + V`. Without the logits' matrix
    where the embeddings are tied.
    """
    units = [int(size) for size in np.atleast_1d(units)]
    size = embedding_size if projection else units[-1]
    parameters = vocabulary_size * (embedding_size + 1 + (0 if tie_embeddings else size))
    parameters += (units[-1] + 1) * embedding_size if projection else 0
    for below, size in zip([embedding_size, *units], units, strict=False):
        parameters += CELLS[cell].count_parameters(below, size)
    return int(parameters)  # NumPy's numbers are welcome, but JSON cannot hold them


def shrink_widths(
    wanted: Sequence[int], allowed: Sequence[Sequence[int]], fits: Callable[[Sequence[int]], bool]
) -> list[int]:
    """Returns the wanted widths, reduced as little as possible to allowed ones, rising lists, of a model that fits.

    All widths shrink by one factor and are rounded down to allowed sizes. Then they grow again, step by step, while the
    model fits; the width that lost the largest share grows first. In the result no width could be one step larger.
    """

    def at_most(sizes: Sequence[int], bound: float) -> int:
        return max([size for size in sizes if size <= bound], default=sizes[0])

    def one_larger(widths: list[int]) -> Iterator[list[int]]:
        for i in sorted(range(len(widths)), key=lambda i: widths[i] / wanted[i]):
            if larger := [size for size in allowed[i] if widths[i] < size <= wanted[i]]:
                yield [*widths[:i], larger[0], *widths[i + 1 :]]

    for percent in range(100, -1, -1):
        widths = [at_most(sizes, want * percent / 100) for sizes, want in zip(allowed, wanted, strict=True)]
        if fits(widths):
            break
    while larger := next(filter(fits, one_larger(widths)), None):
        widths = larger
    return widths


def _values_of(recipe: Recipe) -> dict[str, Any]:
    """A recipe's own settings, as bounds that leave nothing to the search."""
    plain = {name: FIELDS[name].default for name in ("keep_prob", "init_scale", "tie_embeddings")}
    return _as_bounds({**plain, **recipe.model, **recipe.fitted}, recipe.settings)


def _as_bounds(model: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of a model and a training as bounds that leave nothing to the search."""
    return {**model, "num_layers": len(model["units"]), "units": model["units"][0], **training}
