"""The parts of jaxmusic's training step, each compiled and run alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from jaxmusic.benchmarks.harness.weights import load_weights
from jaxmusic.benchmarks.workload import Workload
from jaxmusic.nn.dropout import Masks
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.nn.products import dot
from jaxmusic.training.optimizer import make_optimizer
from jaxmusic.training.state import PyTree, model_graphdef, new_state
from jaxmusic.training.step import window_losses


class Part:
    """One part, run again and again on the same batch."""

    def __init__(self, workload: Workload, weights: Path, part: str) -> None:
        self.part = PARTS[part](workload, jax.tree.map(jnp.array, load_weights(weights)))

    def run(self, steps: int) -> None:
        """So many times."""
        for _ in range(steps):
            jax.block_until_ready(self.part())

    def report(self) -> dict[str, Any]:
        """Nothing else is measured."""
        return {}


def _loss(workload: Workload) -> Callable[[PyTree, Masks], jax.Array]:
    state = new_state(workload.config, workload.vocabulary_size)
    graphdef = model_graphdef(workload.config, workload.vocabulary_size)
    batch = jax.tree.map(jnp.asarray, workload.sampler().batch(0))

    def loss(params: PyTree, masks: Masks) -> jax.Array:
        model = nnx.merge(graphdef, params, state.batch_stats)
        logits = model(batch.inputs, training=True, masks=masks, weights=batch.weights)
        return window_losses(logits, batch.targets).mean()

    return loss


def _draw(workload: Workload) -> Callable[[], Masks]:
    graphdef = model_graphdef(workload.config, workload.vocabulary_size)
    state = new_state(workload.config, workload.vocabulary_size)
    model: MusicLSTM = nnx.merge(graphdef, state.params, state.batch_stats)
    size = (workload.train.batch_size, workload.window)
    return partial(jax.jit(lambda key: model.draw_masks(key, *size)), jax.random.key(0))


def forward(workload: Workload, params: PyTree) -> Callable[[], Any]:
    """The loss, with masks that are given."""
    return partial(jax.jit(_loss(workload)), params, _draw(workload)())


def forward_without_masks(workload: Workload, params: PyTree) -> Callable[[], Any]:
    """The loss, with no dropout."""
    return forward(workload.without_dropout(), params)


def gradient(workload: Workload, params: PyTree) -> Callable[[], Any]:
    """The loss and its gradient, with masks that are given."""
    return partial(jax.jit(jax.value_and_grad(_loss(workload))), params, _draw(workload)())


def gradient_without_masks(workload: Workload, params: PyTree) -> Callable[[], Any]:
    """The loss and its gradient, with no dropout."""
    return gradient(workload.without_dropout(), params)


def masks(workload: Workload, params: PyTree) -> Callable[[], Any]:
    """Drawing the masks of a step."""
    return _draw(workload)


def optimizer(workload: Workload, params: PyTree) -> Callable[[], Any]:
    """New weights and a new optimizer's state from a gradient."""
    rule = make_optimizer(workload.train)

    def update(params: PyTree, state: Any) -> tuple[PyTree, Any]:
        updates, state = rule.update(params, state, params)  # the weights as their own gradient
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(update, donate_argnums=(0, 1))
    held = [params, rule.init(params)]

    def run() -> Any:
        held[:] = compiled(*held)
        return held

    return run


def input_products(workload: Workload, params: PyTree) -> Callable[[], Any]:
    """Forward: each layer's one product of its inputs at all steps, and nothing else."""
    rows, precision = workload.train.batch_size, workload.train.precision
    kernels = [layer["kernel"] for layer in params["lstm"].values()]
    inputs = [jnp.ones((workload.window, rows, kernel.shape[0])) for kernel in kernels]
    multiply = jax.jit(
        lambda inputs, kernels: [
            dot(x, kernel, precision) for x, kernel in zip(inputs, kernels, strict=True)
        ]
    )
    return partial(multiply, inputs, kernels)


def recurrent_products(workload: Workload, params: PyTree) -> Callable[[], Any]:
    """Forward: one product of h after the other, as the time loop has them, and nothing else."""
    hidden, rows = workload.model.hidden_size, workload.train.batch_size

    def products(kernels: list[jax.Array]) -> list[jax.Array]:
        def step(h: jax.Array, _: None, kernel: jax.Array) -> tuple[jax.Array, None]:
            return dot(h, kernel, workload.train.precision)[:, :hidden], None

        start = jnp.ones((rows, hidden))
        return [
            lax.scan(partial(step, kernel=kernel), start, None, workload.window)[0]
            for kernel in kernels
        ]

    kernels = [layer["recurrent_kernel"] for layer in params["lstm"].values()]
    return partial(jax.jit(products), kernels)


PARTS: dict[str, Callable[[Workload, PyTree], Callable[[], Any]]] = {
    "forward and backward": gradient,
    "the same, no dropout": gradient_without_masks,
    "forward": forward,
    "forward, no dropout": forward_without_masks,
    "its recurrent products": recurrent_products,
    "its input products": input_products,
    "optimizer": optimizer,
    "drawing masks": masks,
}


def build(arguments: dict[str, Any]) -> Part:
    """Build the program of a request."""
    return Part(
        Workload.from_json(arguments["workload"]), Path(arguments["weights"]), arguments["variant"]
    )
