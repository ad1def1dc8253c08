"""Optimizers and learning-rate schedules, by name.

To add one, write its function here, enter it in the table, and add its name to OptimizerName or
ScheduleName in config.py.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxmusic.config import TrainConfig

PyTree = Any

# From the progress () of a run after the warm-up, 0 to 1, to what multiplies the learning rate.
Schedule = Callable[[jax.Array], jax.Array]
# Makes updates of gradients, before they are multiplied with the learning rate.
Rule = Callable[[], optax.GradientTransformation]


def constant(progress: jax.Array) -> jax.Array:
    """The same learning rate at every step."""
    return jnp.ones_like(progress)


def cosine(progress: jax.Array) -> jax.Array:
    """From 1 to 0 along half a cosine (Loshchilov and Hutter 2017, "SGDR", without restarts)."""
    return (1 + jnp.cos(jnp.pi * progress)) / 2


def rmsprop() -> optax.GradientTransformation:
    """RMSprop as Keras computes it: epsilon inside the square root."""
    return optax.scale_by_rms(decay=0.9, eps=1e-7, eps_in_sqrt=True)


def adamw() -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015); weight decay is added by `make_optimizer`."""
    return optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)


SCHEDULES: dict[str, Schedule] = {"constant": constant, "cosine": cosine}
OPTIMIZERS: dict[str, Rule] = {"rmsprop": rmsprop, "adamw": adamw}


def make_optimizer(config: TrainConfig) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a training.

    In this order: clipping of the gradient by its global norm, the update of the rule, decoupled
    weight decay (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"), and the
    learning rate. Only matrices decay: kernels and the embedding, not biases and scales.

    Where the learning rate changes over the steps, `update` needs two more arguments, each a ()
    integer: `step`, the steps done, and `total_steps`, those of the run (0: not known yet; None
    will do where the rate is constant after the warm-up).
    """
    parts = []
    if config.clip_norm is not None:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    parts.append(OPTIMIZERS[config.optimizer]())
    if config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=is_matrix))
    if config.schedule == "constant" and not config.warmup_steps:
        parts.append(optax.scale_by_learning_rate(config.learning_rate))
    else:
        parts.append(_scale_by_scheduled_rate(config))
    # The last part is there since the checkpoints of RMSprop's state have one.
    return optax.chain(*parts, optax.identity())


def is_matrix(params: PyTree) -> PyTree:
    """Which of the parameters decay."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)


def learning_rate_at(config: TrainConfig, step: ArrayLike, total_steps: ArrayLike) -> jax.Array:
    """The learning rate () of the step that follows `step` steps of `total_steps`.

    From 0, linearly, in `warmup_steps` steps, then by the schedule over the steps that are left;
    as long as `total_steps` is 0 (not known yet) the schedule stays at its beginning.
    """
    step, total, warmup = jnp.asarray(step), jnp.asarray(total_steps), config.warmup_steps
    left = jnp.maximum(total - warmup, 1).astype(jnp.float32)
    progress = jnp.clip((step - warmup).astype(jnp.float32) / left, 0, 1)
    factor = SCHEDULES[config.schedule](jnp.where(total > 0, progress, 0))
    warm = step.astype(jnp.float32) / max(warmup, 1)
    return config.learning_rate * jnp.where(step < warmup, warm, factor)


def _scale_by_scheduled_rate(config: TrainConfig) -> optax.GradientTransformationExtraArgs:
    """Multiply updates with minus the learning rate of the step."""

    def update(
        updates: PyTree,
        state: optax.OptState,
        params: PyTree = None,
        *,
        step: jax.Array,
        total_steps: jax.Array | None,
        **_: Any,
    ) -> tuple[PyTree, optax.OptState]:
        rate = learning_rate_at(config, step, 0 if total_steps is None else total_steps)
        return jax.tree.map(lambda leaf: -rate * leaf, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
