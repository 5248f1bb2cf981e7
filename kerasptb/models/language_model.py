"""The recurrent language model: embedding, stacked stateful LSTMs, and the logits of the next word."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, TypeVar, Unpack

import keras
import numpy as np
import numpy.typing as npt

from kerasptb import presets
from kerasptb.arguments import ModelArguments, as_json, with_changes
from kerasptb.data import Tokenizer
from kerasptb.data.text_format import USUAL, TextFormat
from kerasptb.engine import Network
from kerasptb.engine.quantized import as_float32
from kerasptb.layers.embedding import Embedding
from kerasptb.losses import LOSSES_OF_FACTORS, SequenceCrossEntropy
from kerasptb.losses.sparse_categorical_crossentropy import from_factors
from kerasptb.metrics import Perplexity
from kerasptb.models.graph import Graph
from kerasptb.models.overrides import Overrides, showing_overrides
from kerasptb.models.portable import check_backend, check_path, network_of, portable_model
from kerasptb.models.teacher import Teacher
from kerasptb.ops.backend import ON_JAX
from kerasptb.ops.plan import available_here, default_precision
from kerasptb.ops.tensors import do_not_convert
from kerasptb.optimizers import ClippedSGD
from kerasptb.reading import Reader
from kerasptb.reading.files import TOKENIZER_DIGEST
from kerasptb.runs import RunFolder
from kerasptb.runs.files import ENGLISH
from kerasptb.runs.weights import read_checked
from kerasptb.trainers import Trainer
from kerasptb.trainers.interface import StatefulLayer
from kerasptb.utils.children import check_not_forked
from kerasptb.utils.types import Backend, CellName, Precision, Tensor

# The arguments that Keras' models do not have.
_OWN_ARGUMENTS = tuple(name for name in ModelArguments.fields() if name not in ("name", "dtype"))
_Model = TypeVar("_Model", bound="LanguageModel")


@keras.saving.register_keras_serializable(package="kerasptb")
class LanguageModel(Trainer):
    """A functional Keras model that reads words and returns the logits of each next word.

    `Embedding [V, D] → dropout → (LSTM → dropout) for each layer → Dense [H, V]` (with `projection` another dense layer
    and dropout before the last), as in Zaremba et al., 2014,
    "Recurrent Neural Network Regularization": dropout on the embeddings and on each layer's output. What AWD-LSTM
    (Merity et al., 2017, "Regularizing and Optimizing LSTM Language Models") and variational dropout (Gal and
    Ghahramani, 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks") add is off by
    default. The LSTMs are stateful: each row of a batch continues where the same row of the previous batch ended.
    The model keeps two states, one for training and one for evaluation, so neither `validation_data` nor `evaluate`
    disturbs the training; `evaluate` and `predict` begin from a zero state and take any batch size and number of steps.

    `compile()` without arguments gives the training step of the original TensorFlow tutorial (see `compile`). A model
    that `save` wrote is loaded by `keras.models.load_model`, in another process after `import kerasptb`.

    Args:
        vocabulary_size: number V of words.
        embedding_size: size D of a word's vector.
        units: sizes of the LSTM layers, from the embedding on; a tuple of ints, or an int for one layer.
        batch_size: rows B of a training batch.
        num_steps: words T of a row of a training batch. The model takes rows of any length; datasets and exports
            made for it use this length.
        keep_prob: probability of keeping a unit in dropout before, between and after the LSTM layers.
        init_scale: weights begin uniform in ±init_scale; the LSTMs' biases begin at zero (the forget gate's too: the
            original has `forget_bias=0`).
        tie_embeddings: whether the logits use the embedding matrix, transposed (`TiedDense`). This saves V H
            parameters; without `projection` the last LSTM layer must then have the embedding's size.
        backend: what runs the recurrence and the cross-entropy: "auto", "reference", "keras" or "native", as in
            `FusedLSTM`.
        precision: "float32", "bfloat16x3" or "bfloat16", as in `FusedLSTM`; `None` follows the dtype policy.
        seed: seed of the weights and of dropout; `None` draws one.
        name: name of the model.
        dtype: Keras dtype policy of the layers; `None` for the global one.
        input_dropout: rate of dropout on the words' vectors; `None` for `1 - keep_prob`. A rate of 0 makes no layer.
        hidden_dropout: rate of dropout between the LSTM layers; `None` for `1 - keep_prob`.
        output_dropout: rate of dropout on the last layer's output; `None` for `1 - keep_prob`.
        variational_dropout: whether these three draw one mask for all steps of a batch, instead of one for each step.
        word_dropout: rate of words that are dropped wherever they occur in a batch, see `layers.Embedding`.
        recurrent_dropout: rate of dropout on h[t-1], with one mask for all gates and steps (`FusedLSTM`).
        recurrent_kernel_dropout: rate of dropped recurrent weights, with one mask for a batch (`FusedLSTM`).
        activation_regularization: alpha of `regularizers.ActivationRegularization`, on the last output after dropout.
        temporal_activation_regularization: beta of `regularizers.TemporalActivationRegularization`, on the last output
            before dropout.
        projection: whether a dense layer takes the last output to the embedding's size D before the logits, and
            `output_dropout` is applied before and after it, as in Melis et al., 2017, "On the State of the Art of
            Evaluation in Neural Language Models". The LSTM may then be wide where V is large.
        cell: what the recurrent layers are: "lstm", "gru", "cifg" (an LSTM whose input gate is 1 - f), "capped_lstm"
            (at most 1 - f), "layer_norm_lstm" or "mogrifier", see `kerasptb.cells`. Those without kernels run in Keras'
            loop (`kerasptb.explain`).
        tokenizer: the `Tokenizer` whose ids it reads, of V tokens, for what asks the model for words; or a `TextFormat`
            with one, such as that of a corpus, which says how lines are read too. `None` for none.

    Attributes:
        text_format: the `TextFormat` with the tokenizer, or `None`. `save` writes it into the .keras file, from where
            `keras.models.load_model` reads it.

    Call arguments:
        tokens: int32 [B, T], word ids in [0, V).

    Returns:
        float32 [B, T, V] (or the compute dtype of the dtype policy), the logits of the word after each word.

    Raises:
        ValueError: if an argument is out of range.

    Example:
    >>> model = LanguageModel(vocabulary_size=100, embedding_size=8, units=(16, 12), batch_size=2, num_steps=5)
    >>> model.compile()
    >>> model.predict(np.zeros((2, 5), "int32"), batch_size=2, verbose=0).shape
    (2, 5, 100)
    """

    cell: CellName
    embedding_size: int
    units: tuple[int, ...]
    num_steps: int
    seed: int | None
    backend: Backend
    precision: Precision | None
    tie_embeddings: bool
    projection: bool

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        units: int | Sequence[int],
        batch_size: int,
        num_steps: int,
        keep_prob: float = 1.0,
        init_scale: float = 0.1,
        backend: Backend = "auto",
        precision: Precision | None = None,
        seed: int | None = None,
        name: str = "language_model",
        tie_embeddings: bool = False,
        dtype: str | keras.DTypePolicy | None = None,
        *,
        input_dropout: float | None = None,
        hidden_dropout: float | None = None,
        output_dropout: float | None = None,
        variational_dropout: bool = False,
        word_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        recurrent_kernel_dropout: float = 0.0,
        activation_regularization: float = 0.0,
        temporal_activation_regularization: float = 0.0,
        projection: bool = False,
        cell: CellName = "lstm",
        tokenizer: Tokenizer | TextFormat | None = None,
    ) -> None:
        values = locals()
        check_not_forked()
        if keras.backend.backend() not in ("tensorflow", "jax", "torch"):
            raise ValueError(
                "A LanguageModel needs KERAS_BACKEND=tensorflow, jax or torch, set before Keras is imported. "
                f"Received: KERAS_BACKEND={keras.backend.backend()}"
            )
        arguments = ModelArguments(**ModelArguments.named(values))
        policy = keras.dtype_policies.get(dtype)
        tokens, logits = Graph(arguments, policy).build()
        super().__init__(inputs=tokens, outputs=logits, name=arguments.name)
        self.dtype_policy = policy
        for argument in _OWN_ARGUMENTS:
            setattr(self, argument, getattr(arguments, argument))
        self.tokenizer = tokenizer
        self.teacher: Teacher | None = None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The `Tokenizer` whose ids the model reads, or `None`; a `TextFormat` may be assigned too."""
        return None if self.text_format is None else self.text_format.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Tokenizer | TextFormat | None) -> None:
        format = TextFormat(tokenizer=tokenizer) if isinstance(tokenizer, Tokenizer) else tokenizer
        if format is not None and format.tokenizer is not None:
            format.tokenizer.check_size(self.vocabulary_size)
        self.text_format = format

    def save_assets(self, dir_path: str) -> None:
        """Writes the tokenizer into a .keras file; Keras calls this."""
        if self.text_format is not None and self.tokenizer is not None:
            self.text_format.save(Path(dir_path))
            Path(dir_path, TOKENIZER_DIGEST).write_text(self.tokenizer.digest)

    def load_assets(self, dir_path: str | None) -> None:
        """Reads the tokenizer from a .keras file; Keras calls this, with `None` where only other layers have assets."""
        if dir_path is None:
            return
        with contextlib.suppress(FileNotFoundError):
            self.tokenizer = TextFormat.load(Path(dir_path))
            if self.tokenizer is not None and Path(dir_path, TOKENIZER_DIGEST).read_text() != self.tokenizer.digest:
                raise ValueError(
                    "Expected the tokenizer that the model was saved with. Received: another, in its place"
                )

    @classmethod
    @showing_overrides
    def from_preset(cls, preset: str | os.PathLike[str], **overrides: Unpack[Overrides]) -> Self:
        """Builds an untrained model from a named recipe, or a trained one, with weights. Nothing is downloaded.

        Args:
            preset: a name in `kerasptb.presets.PRESETS`, such as "notebook", for a model without weights; or "english",
                for that in the package, or the folder of a run, for its best weights, compiled as `compile()` does.
            **overrides: arguments of the constructor that replace the preset's, such as `batch_size=1`. `keep_prob`
                replaces the rates of dropout that it stands for, and a `tokenizer` has its own `vocabulary_size`; a
                trained model has its own of both.

        Raises:
            ValueError: if there is no such preset, or a trained model is given another vocabulary.
            RunError: if a folder is not a run, or is damaged.

        Example:
        >>> LanguageModel.from_preset("english").count_params()
        5771200
        """
        if preset not in presets.PRESETS and (preset == ENGLISH or Path(preset).is_dir()):
            run = RunFolder.open(preset)
            return trained_model(cls, run, run.find_weights("best"), overrides)
        preset = str(preset)
        tokenizer = overrides.pop("tokenizer", None)
        given = tokenizer.tokenizer if isinstance(tokenizer, TextFormat) else tokenizer
        if given is not None:
            overrides.setdefault("vocabulary_size", len(given))
        arguments = with_changes(presets.get_preset(preset).model_arguments(), overrides)
        return cls(**arguments, tokenizer=tokenizer)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        *,
        jit_compile: bool | Literal["auto"] | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training. Without arguments, training is as in the original tutorial.

        Args:
            optimizer: `None` for `ClippedSGD(1.0, global_clipnorm=5.0)`.
            loss: `None` for the cost of the original, `SequenceCrossEntropy`. It is computed without the logits, which
                are computed only if something else reads them, such as a metric other than `Perplexity`
                (`kerasptb.ops.logits`). `losses.SparseCategoricalCrossentropy` takes the place of Keras' own, since
                both mean the same.
            loss_weights: as in `keras.Model.compile`.
            metrics: `None` for `Perplexity` (of the words that the loss counts, if it has an `ignore_class`), or for no
                metrics if `weighted_metrics` are given.
            weighted_metrics: metrics that weigh words by the data's sample weights.
            jit_compile: whether XLA compiles the step as one program. `None` and "auto" compile where that makes the
                step faster: with JAX; on a GPU, if native kernels serve every layer; on a processor, if they do all the
                work and nothing is known to read the logits. Compiling takes up to half a second for each shape
                of batches, so on a processor those of open length are not compiled. There the steps of a call
                (`steps_per_execution`) are one program then, if the data are a `tf.data.Dataset` of static shapes.
            **kwargs: further arguments of `keras.Model.compile`.

        Raises:
            ValueError: under a `tf.distribute` strategy: the recurrent state has the rows of a whole batch. For a loss
                that expects probabilities: the model's outputs are logits. With a teacher, for a loss that reads them.
        """
        # A config names no defaults; of `jit_compile` it has the wish, since another machine makes its own choice.
        asked = {"loss": loss, "metrics": metrics, "jit_compile": jit_compile}
        loss = SequenceCrossEntropy() if loss is None else keras.tree.map_structure(from_factors, loss)
        if self.teacher is not None:
            self.teacher.check_loss(loss)
        if metrics is None and not weighted_metrics:
            metrics = [Perplexity(ignore_class=getattr(loss, "ignore_class", None))]
        reads_logits = self._reads_logits(loss, (metrics, weighted_metrics))
        super().compile(
            optimizer=ClippedSGD() if optimizer is None else optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            jit_compile=self.choose_jit_compile(jit_compile, reads_logits or kwargs.get("run_eagerly", False)),
            **kwargs,
        )
        self._default_arguments = tuple(item for item in asked.items() if item[1] is None or item[1] == "auto")

    def distill(self, teacher: "LanguageModel | None", weight: float = 0.5) -> None:
        """Lets `fit` learn from the distribution of a trained model too (Hinton et al., 2015).

        The loss of a word is then its cross-entropy against the mean of its target and of what the teacher expects
        there, see `ops.logits.LogitFactors.learn_from`; metrics are of the targets alone. The teacher reads each batch
        in the step, from its own state after the batch before, and is not changed. Three arrays [B T, V] are in memory
        meanwhile. The model's config and files know nothing of it.

        Args:
            teacher: a trained `LanguageModel` over the same tokens, of any sizes; `None` for none, as in a new model.
            weight: of its distribution in that mean, from 0 to 1; the target's is `1 - weight`.

        Raises:
            ValueError: for a weight out of range, a teacher over other tokens, a loss that reads the logits, or on
                another backend than TensorFlow.
        """
        found = None if teacher is None else Teacher(teacher, weight, self)
        if found is not None and self.compiled:
            found.check_loss(self.loss)
        self.teacher = found
        self.forget_functions()

    def reset_states(self) -> None:
        """Zeroes the recurrent states of training and of evaluation, and that of a teacher."""
        super().reset_states()
        if self.teacher is not None:
            self.teacher.reset_state()

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns the arguments of `compile`, serialised, with `None` for default loss, metrics and `jit_compile`."""
        config = super().get_compile_config()
        if config:
            config.update(self._default_arguments)
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what `get_compile_config` returned."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def next_word_probabilities(self, tokens: npt.ArrayLike) -> np.ndarray:
        """Returns the probability of each word as the next word after each row, read from a zero state.

        Several threads may call this at the same time. With TensorFlow they may also do so while another thread trains
        or evaluates the model; if XLA compiles the training they wait for each other's variables, for up to a few times
        the steps of a call (`steps_per_execution`).

        Args:
            tokens: int [B, T], word ids, T at least 1; any B.

        Returns:
            float32 numpy array [B, V]; rows sum to one.

        Raises:
            ValueError: if these are not rows of words, or for word ids out of range.
            RuntimeError: with JAX, while another thread trains the model.
        """
        return self.stateless_next_word_probabilities(tokens)[0]

    def stateless_next_word_probabilities(
        self, tokens: npt.ArrayLike, state: Sequence[Sequence[Tensor]] | None = None
    ) -> tuple[np.ndarray, Sequence[Sequence[Tensor]]]:
        """Returns what `next_word_probabilities` does, and the state after the last word, as `stateless_encode` does.

        Args:
            tokens: as in `next_word_probabilities`, like what is raised.
            state: the state after the words before; `None` for zeros.
        """
        self.check_can_be_asked()
        tokens = np.asarray(tokens)
        if tokens.ndim != 2:
            raise ValueError(
                f"Expected rows of word ids, [B, T], such as [[1, 2]]. Received: tokens of shape {tokens.shape}"
            )
        self.check_word_ids((tokens,))
        tokens = keras.ops.convert_to_tensor(tokens, dtype="int32")
        state = self.get_initial_state(tokens.shape[0]) if state is None else state
        for start, end in _few_lengths(tokens.shape[1]):
            hidden, state = self.stateless_encode(tokens[:, start:end], state)
        logits = self.get_layer("logits")(hidden[:, -1:, :])
        return keras.ops.convert_to_numpy(keras.ops.softmax(keras.ops.cast(logits[:, 0, :], "float32"))), state

    def open_network(self) -> Network:
        """Returns the model as a `kerasptb.engine.Network`, with the weights that it has now.

        It computes on the processor: on the native kernels in the model's precision, unless "keras" or "reference" was
        named as its backend.
        """
        self.check_can_be_asked()
        precision = self.precision or default_precision(self.backend, self.dtype_policy)
        return network_of(self, backend=self.backend, precision=precision)

    def open_reader(self) -> Reader:
        """Returns what reads with the model as it is now: what `kerasptb.suggest` and the like ask.

        Raises:
            ValueError: if the model does not know its tokenizer.
        """
        return Reader(self.open_network(), self.text_format or USUAL)

    def check_can_be_asked(self) -> None:
        """Raises a RuntimeError while another thread trains the model with JAX, or if the process is a fork."""
        check_not_forked()
        if ON_JAX and not getattr(self, "_jax_state_synced", True):
            # Keras' trainer has taken the values out of the variables. A callback's `self.model` puts them back.
            raise RuntimeError(
                "With JAX a model cannot be asked while it trains, but in a callback, as `self.model`. "
                "Received: a call during `fit`"
            )

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        """Returns the logits [B, T, V] of tokens, int32 [B, T], also if they are given in a dict or a list of one."""
        (tokens,), (mask,) = keras.tree.flatten(inputs), keras.tree.flatten(mask)
        logits = super().call(tokens, training=training, mask=mask)
        if training and self.teacher is not None:
            self.teacher.teach(tokens, logits)
        return logits

    def encode(self, tokens: Tensor, training: bool = False) -> Tensor:
        """Returns the input of the logits layer, [B, T, H], or [B, T, D] with a projection, in the compute dtype.

        Args:
            tokens: int32 [B, T].
            training: whether to apply dropout and continue from the training state.
        """
        return self._encode(tokens, training)[0]

    def stateless_encode(self, tokens: Tensor, state: Sequence[Sequence[Tensor]]) -> tuple[Tensor, list[list[Tensor]]]:
        """Returns what `encode` does in evaluation, from a state that is passed: the model's own stay as they are.

        Args:
            tokens: int32 [B, T].
            state: for each LSTM layer h and c, each [B, H], in the model's compute dtype: that after the words before,
                or the result of `get_initial_state`.

        Returns:
            hidden: the input of the logits layer, as `encode` returns it.
            state: the state after the last word.
        """
        return self._encode(tokens, False, state)

    def get_initial_state(self, batch_size: int) -> list[list[Tensor]]:
        """Returns a zero state of `batch_size` rows B for `stateless_encode`: for each LSTM layer h and c, [B, H]."""
        return [layer.get_initial_state(batch_size) for layer in self.stateful_layers()]

    @do_not_convert
    def compute_cost(self, tokens: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Returns the original's cost, the cross-entropy summed over time and averaged over the batch.

        It is `SequenceCrossEntropy` of the logits, computed without keeping them.

        Args:
            tokens: int32 [B, T].
            targets: int32 [B, T], the true next words. B must be known while a graph is traced.
            training: whether to apply dropout and continue from the training state.

        Returns:
            float32 scalar, in nats; divided by T it is the mean cross-entropy per word.

        Raises:
            ValueError: if B is not known.
        """
        if targets.shape[0] is None:
            raise ValueError(
                "The cost needs batches of a fixed size, such as `tf.TensorSpec([60, None], tf.int32)` gives. "
                f"Received: targets of shape {tuple(targets.shape)}"
            )
        factors = self.get_layer("logits").factors(self.encode(tokens, training=training))
        return factors.cross_entropy(targets, scale=1.0 / targets.shape[0])

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Exports the model without its state, as plain Keras layers in float32: tokens [B, T] to logits [B, T, V].

        The exported model reads each row from a zero state. For a model that takes text, for one that takes and
        returns its state, and for other formats, use `kerasptb.export_saved_model`, `export_litert` or `export_onnx`.

        Args:
            filepath: the folder to write.
            format: "tf_saved_model".
            verbose: whether to print where it was written; `None` for Keras' default.
            input_signature: shape and dtype of the tokens; `None` for int32 of any shape [B, T].
            **kwargs: further arguments of `keras.Model.export`.

        Raises:
            ValueError: if another format is asked for.
        """
        if format != "tf_saved_model":
            raise ValueError(
                'Expected format="tf_saved_model"; for a phone use kerasptb.export_litert, for ONNX '
                f"kerasptb.export_onnx. Received: format={format!r}"
            )
        check_backend("A SavedModel")
        check_path(filepath)
        portable_model(self, with_state=False).export(filepath, format, verbose, input_signature, **kwargs)

    def quantize(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises ValueError: a quantized model could not be saved, and its cost could not be computed."""
        raise ValueError(
            "A LanguageModel is quantized when it is exported: use kerasptb.export_litert(..., quantize=True)."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, and the names of the layers that are not trainable as "frozen".

        Other changes to layers, such as a regularizer, are not included. If LoRA is on, a warning says that it is
        merged into the matrices in what is saved.
        """
        if lora := [layer.name for layer in self.layers if getattr(layer, "lora_enabled", False)]:
            warnings.warn(
                f"LoRA of the layers {lora} is merged into their matrices in what is saved. To go on with it after "
                "loading, call `enable_lora` again.",
                stacklevel=2,
            )
        frozen = [layer.name for layer in self.layers if layer.weights and not layer.trainable]
        by_layer = isinstance(self.dtype_policy, keras.dtype_policies.DTypePolicyMap)
        return {
            **({"frozen": frozen} if frozen else {}),
            **{argument: as_json(getattr(self, argument)) for argument in _OWN_ARGUMENTS},
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy) if by_layer else self.dtype_policy.name,
            **({} if self.trainable else {"trainable": False}),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """Builds the model from the result of `get_config`, with a backend and precision that this process has."""
        config = available_here(config)
        frozen, trainable = config.pop("frozen", ()), config.pop("trainable", True)
        model = cls(**config)
        for name in frozen:
            model.get_layer(name).trainable = False
        if not trainable:
            model.trainable = False
        return model

    def lookup_layer(self) -> Embedding | None:
        """Returns the embedding, unless its matrix is tied, and so read whole, or a subclass has its own `call`."""
        apart = not self.tie_embeddings and type(self).call is LanguageModel.call
        return self.get_layer("embedding") if apart else None

    def _encode(
        self, tokens: Tensor, training: bool, state: Sequence[Sequence[Tensor]] | None = None
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Returns the input of the logits layer, and the state after the words if one before them was given."""
        first, last = (self.layers.index(self.get_layer(name)) for name in ("embedding", "logits"))
        x, before, after = tokens, iter(state or ()), []
        for layer in self.layers[first:last]:
            if state is not None and isinstance(layer, StatefulLayer):
                x, *of_layer = layer(x, training=training, state=next(before))
                after.append(of_layer)
            else:
                x = layer(x, training=training)
        return x, after

    def _reads_logits(self, loss: Any, metrics: Any) -> bool:
        """Whether a training step reads the logits, as far as is known."""
        own = any(
            getattr(type(self), method) is not getattr(LanguageModel, method)
            for method in ("compute_loss", "compute_metrics")
        )
        parts = [part for part in keras.tree.flatten((loss, metrics)) if part is not None]
        served = all(isinstance(part, (*LOSSES_OF_FACTORS, Perplexity)) for part in parts)
        return own or not served or self.get_layer("logits").activity_regularizer is not None


def build_language_model(
    vocabulary_size: int = 10000,
    embedding_size: int = 200,
    units: int | Sequence[int] = (256, 128),
    batch_size: int = 60,
    num_steps: int = 20,
    **kwargs: Any,
) -> LanguageModel:
    """Builds a `LanguageModel`, not compiled; the defaults are the original tutorial's, of 3,955,088 parameters.

    Args:
        vocabulary_size: number V of words.
        embedding_size: size D of a word's vector.
        units: sizes of the LSTM layers.
        batch_size: rows B of a training batch.
        num_steps: words T of a row.
        **kwargs: further arguments of `LanguageModel`.
    """
    return LanguageModel(vocabulary_size, embedding_size, units, batch_size, num_steps, **kwargs)


def trained_model(kind: type[_Model], run: RunFolder, path: Path, changes: Mapping[str, Any]) -> _Model:
    """Returns a run's model, of a class, with the weights of a file, compiled.

    Args:
        kind: the class.
        run: the run.
        path: the file.
        changes: arguments in place of the run's.

    Raises:
        RunError: the file is damaged, or of another model.
        ValueError: its vocabulary is to change.
    """
    if changed := {"tokenizer", "vocabulary_size"} & set(changes):
        raise ValueError(
            f"Expected the vocabulary that the model was trained with. Received: {', '.join(sorted(changed))}. "
            "To go on with another: kerasptb train --from"
        )
    weights = read_checked(path, run.settings.model)
    model = kind(**with_changes(run.settings.model.as_dict(), changes), tokenizer=run.text_format)
    model.set_weights([as_float32(weight) for weight in weights])
    model.compile()
    return model


def _few_lengths(length: int) -> Iterator[tuple[int, int]]:
    """Yields begin and end of the parts to read a text in: powers of two of at least 32, the largest first, and a rest.

    TensorFlow and JAX compile the native operations for each shape. This way texts of any length need few.
    """
    start = 0
    while length - start >= 32:
        end = start + 2 ** ((length - start).bit_length() - 1)
        yield start, end
        start = end
    if start < length:
        yield start, length
