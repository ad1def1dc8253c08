"""The notebooks' network in Keras, trained by `fit`, on the backend of KERAS_BACKEND."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from jaxmusic.benchmarks.harness.weights import Weights, load_weights
from jaxmusic.benchmarks.workload import Workload


class Baseline:
    """Keras's network compiled: with XLA, or (TensorFlow's other way) as a graph."""

    def __init__(self, workload: Workload, weights: Path, variant: str) -> None:
        self.workload = workload
        self.variant = variant
        self.weights = load_weights(weights)
        if keras.backend.backend() == "tensorflow":
            import tensorflow  # noqa: PLC0415

            # f32 means f32 on GPUs too.
            tf32 = workload.train.precision == "tf32"
            tensorflow.config.experimental.enable_tensor_float_32_execution(tf32)
        bf16 = workload.train.precision == "bf16"
        keras.config.set_dtype_policy("mixed_bfloat16" if bf16 else "float32")
        self.sampler = workload.sampler()
        self.model = self._compiled(workload)
        self.step = 0

    def check_losses(self) -> list[float]:
        """Losses of two steps on the first batch, with all dropout off."""
        plain = self._compiled(self.workload.without_dropout())
        batch = self.sampler.batch(0)
        losses = []
        for _ in range(2):
            plain.reset_metrics()
            loss = plain.train_on_batch(self._inputs(batch.inputs), self._targets(batch.targets))
            losses.append(float(loss))
        return losses

    def run(self, steps: int) -> None:
        """Train on, by `fit` over the next batches."""
        batches = self.workload.full_batches(self.sampler, self.step, steps)
        self.step += steps
        self.model.fit(
            self._inputs(np.concatenate([batch.inputs for batch in batches])),
            self._targets(np.concatenate([batch.targets for batch in batches])),
            batch_size=self.workload.train.batch_size,
            shuffle=False,
            verbose=0,
        )

    def report(self) -> dict[str, Any]:
        """What else was measured."""
        about: dict[str, Any] = {
            "recurrent_masks": 4 if self.workload.model.recurrent_dropout else 0,
        }
        if keras.backend.backend() == "jax":
            import jax  # noqa: PLC0415

            stats = jax.local_devices()[0].memory_stats() or {}
            about["device_peak_bytes"] = stats.get("peak_bytes_in_use")
        return about

    def _inputs(self, ids: np.ndarray) -> np.ndarray:
        if self.workload.model.input == "embedding":
            return ids.astype(np.int32)
        return (ids[..., None] / self.workload.vocabulary_size).astype(np.float32)

    def _targets(self, ids: np.ndarray) -> np.ndarray:
        return ids.astype(np.int32)

    def _compiled(self, workload: Workload) -> Any:
        model = build_model(workload)
        set_weights(model, self.weights)
        model.compile(
            optimizer=keras.optimizers.RMSprop(workload.train.learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=self.variant == "xla",
        )
        return model


def build_model(workload: Workload) -> Any:
    """The network, as the notebooks stack it; its output is logits."""
    config = workload.model
    every = config.objective == "every"
    stack: list[Any] = [keras.Input((workload.window, 1))]
    if config.input == "embedding":
        stack = [
            keras.Input((workload.window,), dtype="int32"),
            layers.Embedding(workload.vocabulary_size, config.embedding_size),
        ]
    for number in range(config.layers):
        last = number == config.layers - 1
        stack.append(
            layers.LSTM(
                config.hidden_size,
                return_sequences=every or not last,
                recurrent_dropout=0.0 if last else config.recurrent_dropout,
            )
        )
    stack += [
        layers.BatchNormalization(),
        layers.Dropout(config.dropout),
        layers.Dense(config.dense_size, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(config.dropout),
        layers.Dense(workload.vocabulary_size, dtype="float32"),
    ]
    return keras.Sequential(stack)


def set_weights(model: Any, weights: Weights) -> None:
    """Give the network jaxmusic's weights; batch norm's averages stay as they begin."""

    def of(kind: Any) -> list[Any]:
        return [layer for layer in model.layers if isinstance(layer, kind)]

    for layer in of(layers.Embedding):
        layer.set_weights([weights["embedding"]["embedding"]])
    for number, layer in enumerate(of(layers.LSTM)):
        ours = weights["lstm"][number]
        layer.set_weights([ours["kernel"], ours["recurrent_kernel"], ours["bias"]])
    for layer, name in zip(of(layers.BatchNormalization), ("norm_lstm", "norm_dense"), strict=True):
        averages = layer.get_weights()[2:]
        layer.set_weights([weights[name]["scale"], weights[name]["bias"], *averages])
    for layer, name in zip(of(layers.Dense), ("dense", "output"), strict=True):
        layer.set_weights([weights[name]["kernel"], weights[name]["bias"]])


def build(arguments: dict[str, Any]) -> Baseline:
    """Build the program of a request."""
    return Baseline(
        Workload.from_json(arguments["workload"]), Path(arguments["weights"]), arguments["variant"]
    )
