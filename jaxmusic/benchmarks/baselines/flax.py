"""The same network from Flax's own parts: nnx.RNN over nnx.OptimizedLSTMCell."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxmusic.benchmarks.harness.weights import Weights, load_weights
from jaxmusic.benchmarks.workload import Workload


class Network(nnx.Module):
    """The plain stack; its cells have no recurrent dropout."""

    def __init__(self, workload: Workload) -> None:
        config = workload.model
        dtype = jnp.bfloat16 if workload.train.precision == "bf16" else jnp.float32
        rngs = nnx.Rngs(0)
        self.vocabulary_size = workload.vocabulary_size
        self.every = config.objective == "every"
        embedded = config.input == "embedding"
        features = config.embedding_size if embedded else 1
        self.embedding = (
            nnx.Embed(workload.vocabulary_size, features, rngs=rngs) if embedded else None
        )
        hidden = config.hidden_size
        sizes = [features, *[hidden] * (config.layers - 1)]
        self.lstm = nnx.List(
            [
                nnx.RNN(nnx.OptimizedLSTMCell(size, hidden, dtype=dtype, rngs=rngs), rngs=rngs)
                for size in sizes
            ]
        )

        def norm(size: int) -> nnx.BatchNorm:
            return nnx.BatchNorm(size, momentum=0.99, epsilon=1e-3, rngs=rngs)

        self.norm_lstm = norm(hidden)
        self.dense = nnx.Linear(hidden, config.dense_size, dtype=dtype, rngs=rngs)
        self.norm_dense = norm(config.dense_size)
        self.output = nnx.Linear(config.dense_size, workload.vocabulary_size, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Logits for ids (batch, window)."""
        embed = self.embedding
        x = ids[..., None] / self.vocabulary_size if embed is None else embed(ids)
        for layer in self.lstm:
            x = layer(x)
        x = x if self.every else x[:, -1]
        x = self.dropout(self.norm_lstm(x))
        x = self.dropout(self.norm_dense(jax.nn.relu(self.dense(x))))
        logits: jax.Array = self.output(x)
        return logits


class Baseline:
    """The network, its graph split once and its arrays carried through jax.jit (fastest)."""

    def __init__(self, workload: Workload, weights: Path) -> None:
        self.workload = workload
        self.weights = load_weights(weights)
        self.sampler = workload.sampler()
        self.do_step, self.state = self._new(workload)
        self.step = 0

    def check_losses(self) -> list[float]:
        """Losses of two steps on the first batch, with all dropout off."""
        do_step, state = self._new(self.workload.without_dropout())
        losses = []
        for _ in range(2):
            state, loss = do_step(state, *_batch(*self.sampler.batch(0)[:2]))
            losses.append(float(loss))
        return losses

    def run(self, steps: int) -> None:
        """Train on."""
        for batch in self.workload.full_batches(self.sampler, self.step, steps):
            self.state, _ = self.do_step(self.state, *_batch(batch.inputs, batch.targets))
        self.step += steps
        jax.block_until_ready(self.state)

    def report(self) -> dict[str, Any]:
        """What else was measured."""
        stats = jax.local_devices()[0].memory_stats() or {}
        return {"recurrent_masks": 0, "device_peak_bytes": stats.get("peak_bytes_in_use")}

    def _new(self, workload: Workload) -> tuple[Any, Any]:
        network = Network(workload)
        network.train()  # type: ignore[no-untyped-call]
        set_weights(network, self.weights)
        rule = optax.rmsprop(workload.train.learning_rate, decay=0.9, eps=1e-7, eps_in_sqrt=True)
        structure, state = nnx.split((network, nnx.Optimizer(network, rule, wrt=nnx.Param)))

        def loss_of(network: Network, ids: jax.Array, targets: jax.Array) -> jax.Array:
            losses = optax.softmax_cross_entropy_with_integer_labels(network(ids), targets)
            mean: jax.Array = losses.mean()
            return mean

        def step(state: Any, ids: jax.Array, targets: jax.Array) -> tuple[Any, jax.Array]:
            network, optimizer = nnx.merge(structure, state)
            loss, gradients = nnx.value_and_grad(loss_of)(network, ids, targets)
            optimizer.update(network, gradients)
            return nnx.state((network, optimizer)), loss

        return jax.jit(step, donate_argnums=0), state


def _batch(ids: np.ndarray, targets: np.ndarray) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(ids, jnp.int32), jnp.asarray(targets, jnp.int32)


def set_weights(network: Network, weights: Weights) -> None:
    """Give the network jaxmusic's weights."""
    if network.embedding is not None:
        network.embedding.embedding[...] = jnp.array(weights["embedding"]["embedding"])
    for number, layer in enumerate(network.lstm):
        ours = weights["lstm"][number]
        cell: Any = layer.cell
        cell.dense_i.kernel[...] = jnp.array(ours["kernel"])
        cell.dense_h.kernel[...] = jnp.array(ours["recurrent_kernel"])
        cell.dense_h.bias[...] = jnp.array(ours["bias"])
    for name in ("norm_lstm", "norm_dense"):
        getattr(network, name).scale[...] = jnp.array(weights[name]["scale"])
        getattr(network, name).bias[...] = jnp.array(weights[name]["bias"])
    for name in ("dense", "output"):
        getattr(network, name).kernel[...] = jnp.array(weights[name]["kernel"])
        getattr(network, name).bias[...] = jnp.array(weights[name]["bias"])


def build(arguments: dict[str, Any]) -> Baseline:
    """Build the program of a request."""
    return Baseline(Workload.from_json(arguments["workload"]), Path(arguments["weights"]))
