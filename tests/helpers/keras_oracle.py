"""The notebooks' network in Keras, on its JAX backend, with our weights and our masks."""

from typing import Any

import keras
import numpy as np

from jaxmusic.config import ModelConfig
from jaxmusic.nn.dropout import Masks
from jaxmusic.training.state import PyTree


class GivenDropout(keras.layers.Layer):  # type: ignore[misc]
    """Dropout in training with a mask that the test chose, once for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: Any = None

    def call(self, inputs: Any, training: bool = False) -> Any:
        return inputs * self.mask if training and self.mask is not None else inputs


class KerasOracle:
    """Keras's model with the layers that dropout masks and weights are given to."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, window: int) -> None:
        self.config = config
        self.vocabulary_size = vocabulary_size
        every = config.objective == "every"
        recurrent = [config.recurrent_dropout] * (config.layers - 1) + [0.0]
        self.lstms = [
            keras.layers.LSTM(
                config.hidden_size,
                return_sequences=every or number < config.layers - 1,
                recurrent_dropout=rate,
            )
            for number, rate in enumerate(recurrent)
        ]
        self.norms = [keras.layers.BatchNormalization(), keras.layers.BatchNormalization()]
        self.dropouts = [GivenDropout(), GivenDropout()]
        self.denses = [
            keras.layers.Dense(config.dense_size),
            keras.layers.Dense(vocabulary_size),
        ]
        first: list[Any] = [keras.layers.Input((window, 1))]
        if config.input == "embedding":
            self.embedding = keras.layers.Embedding(vocabulary_size, config.embedding_size)
            first = [keras.layers.Input((window,)), self.embedding]
        self.model = keras.Sequential(
            [
                *first,
                *self.lstms,
                self.norms[0],
                self.dropouts[0],
                self.denses[0],
                keras.layers.Activation("relu"),
                self.norms[1],
                self.dropouts[1],
                self.denses[1],
                keras.layers.Activation("softmax"),
            ]
        )

    def inputs(self, ids: np.ndarray) -> np.ndarray:
        """Ids (batch, window) as the notebooks feed them: (batch, window, 1) of id / size."""
        if self.config.input == "embedding":
            return ids.astype(np.int32)
        return (ids[..., None] / float(self.vocabulary_size)).astype(keras.config.floatx())

    def set_weights(self, params: PyTree, batch_stats: PyTree) -> None:
        """Give Keras our weights and moving averages."""
        if self.config.input == "embedding":
            self.embedding.set_weights([params["embedding"]["embedding"]])
        for number, lstm in enumerate(self.lstms):
            ours = params["lstm"][number]
            lstm.set_weights([ours["kernel"], ours["recurrent_kernel"], ours["bias"]])
        for norm, name in zip(self.norms, ("norm_lstm", "norm_dense"), strict=True):
            ours, stats = params[name], batch_stats[name]
            norm.set_weights([ours["scale"], ours["bias"], stats["mean"], stats["var"]])
        for dense, name in zip(self.denses, ("dense", "output"), strict=True):
            dense.set_weights([params[name]["kernel"], params[name]["bias"]])

    def set_masks(self, masks: Masks) -> None:
        """Let Keras's next call in training drop out what our masks do (or nothing)."""
        for lstm, mask in zip(self.lstms, masks.recurrent, strict=True):
            given = None if mask is None else [mask[:, gate] for gate in range(4)]
            lstm.cell.get_recurrent_dropout_mask = lambda h, given=given: given
        self.dropouts[0].mask, self.dropouts[1].mask = masks.dense, masks.output

    def in_our_order(self, per_variable: list[Any]) -> PyTree:
        """Values for each trainable variable (gradients, say) as a pytree like our params."""
        values = {id(v): np.asarray(x) for v, x in zip(
            self.model.trainable_variables, per_variable, strict=True)}  # fmt: skip

        def of(variable: Any) -> np.ndarray:
            return values[id(variable)]

        tree: dict[str, Any] = {
            "lstm": {
                number: {
                    "kernel": of(lstm.cell.kernel),
                    "recurrent_kernel": of(lstm.cell.recurrent_kernel),
                    "bias": of(lstm.cell.bias),
                }
                for number, lstm in enumerate(self.lstms)
            }
        }
        for norm, name in zip(self.norms, ("norm_lstm", "norm_dense"), strict=True):
            tree[name] = {"scale": of(norm.gamma), "bias": of(norm.beta)}
        for dense, name in zip(self.denses, ("dense", "output"), strict=True):
            tree[name] = {"kernel": of(dense.kernel), "bias": of(dense.bias)}
        if self.config.input == "embedding":
            tree["embedding"] = {"embedding": of(self.embedding.embeddings)}
        return tree

    def variables(self) -> tuple[list[Any], list[Any]]:
        """Values, as Keras's `stateless_call` takes them: the trainable ones, and the others."""
        model = self.model
        of = model.trainable_variables, model.non_trainable_variables
        return [v.value for v in of[0]], [v.value for v in of[1]]

    def moving_averages(self, per_variable: list[Any]) -> PyTree:
        """Batch norm's, of values for each variable that isn't trainable: like our batch_stats."""
        values = {id(v): np.asarray(x) for v, x in zip(
            self.model.non_trainable_variables, per_variable, strict=True)}  # fmt: skip
        return {
            name: {"mean": values[id(norm.moving_mean)], "var": values[id(norm.moving_variance)]}
            for norm, name in zip(self.norms, ("norm_lstm", "norm_dense"), strict=True)
        }
