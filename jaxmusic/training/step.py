"""The training step: a pure function of state and batch."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from jaxmusic.config import Objective
from jaxmusic.data.batch import Batch, CorpusBatches, batch_at
from jaxmusic.nn.cell import Carry, continue_carry
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.training.state import PyTree, TrainState

DROPOUT_STREAM = 1  # keeps dropout's random numbers apart from those of the initial weights


def window_losses(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Categorical cross-entropy in nats of each window, (batch,): the mean over its targets.

    The arguments are as in `target_losses`.
    """
    losses = target_losses(logits, targets)
    return losses if losses.ndim == 1 else losses.mean(axis=1)


def target_losses(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Categorical cross-entropy in nats of each target, shaped as `targets`.

    Computed from the logits, as Keras on TensorFlow does, which undoes the softmax of a last
    layer. Keras on JAX and PyTorch clips the softmax's probabilities to [1e-7, 1 - 1e-7] instead:
    a target below that costs 16.1 there and has no gradient.

    Args:
        logits: (batch, vocabulary), or (batch, window, vocabulary).
        targets: (batch,), or (batch, window) ids.
    """
    losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(
        logits, targets.astype(jnp.int32)
    )
    return losses


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    graphdef: nnx.GraphDef[MusicLSTM],
    optimizer: optax.GradientTransformationExtraArgs,
    seed: int,
    steps_per_epoch: int,
    ema_decay: float = 0.0,
) -> tuple[TrainState, jax.Array]:
    """Train on one batch: the new state, and the batch's mean loss ().

    The mean is over windows, or where each target has a weight, over targets. Those of weight 0
    don't count in the loss, the gradient or the batch statistics. A step that would make the loss
    or a parameter NaN or infinite changes only the step number; its loss is returned as NaN. No
    gradient flows to earlier windows, whose state is carried (truncated back-propagation through
    time: Williams and Peng 1990, "An Efficient Gradient-Based Algorithm for On-Line Training of
    Recurrent Network Trajectories").
    """
    key = jax.random.fold_in(jax.random.key(seed), DROPOUT_STREAM)
    inputs, targets, weights = map(jnp.asarray, batch[:3])
    windows = weights.sum()  # or targets, where each has a weight
    before_first = carries_before(state, batch)

    def loss_of(params: PyTree) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
        model = nnx.merge(graphdef, params, state.batch_stats)
        masks = model.draw_masks(jax.random.fold_in(key, state.step), *inputs.shape)
        features, after = model.recur(inputs, carries=before_first, masks=masks)
        logits = model.head(features, training=True, masks=masks, weights=weights)
        losses = (target_losses if weights.ndim > 1 else window_losses)(logits, targets)
        batch_stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
        return (losses * weights).sum() / windows, (batch_stats, carries_after(state, after))

    (loss, (batch_stats, carries)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
        state.params
    )
    updates, optimizer_state = optimizer.update(
        gradients,
        state.optimizer,
        state.params,
        step=state.step,
        total_steps=state.total_steps,
    )
    params = optax.apply_updates(state.params, updates)
    keeps_sum = (state.step % steps_per_epoch != 0).astype(jnp.float32)  # 0: an epoch starts
    total = loss * windows
    loss_sum, window_sum = jax.tree.map(
        lambda part: keeps_sum * part, (state.loss_sum, state.window_sum)
    )
    before = state._replace(loss_sum=loss_sum, window_sum=window_sum)
    after = state._replace(
        params=params,
        batch_stats=batch_stats,
        optimizer=optimizer_state,
        loss_sum=loss_sum.add(total),
        window_sum=window_sum.add(windows),
        ema=None if state.ema is None else moving_averages(state, params, ema_decay),
        carries=carries,
    )
    good = jnp.isfinite(total) & jnp.isfinite(optax.tree.norm(params))
    kept: TrainState = jax.tree.map(partial(jnp.where, good), after, before)
    return kept._replace(step=state.step + 1), jnp.where(good, loss, jnp.nan)


def moving_averages(state: TrainState, params: PyTree, decay: float) -> PyTree:
    """The exponential moving averages of the parameters, with those after one more step.

    At first they remember less, (1 + t) / (10 + t) of themselves after t steps: a short run
    doesn't average its initial weights.
    """
    step = state.step.astype(jnp.float32)
    kept = jnp.minimum(decay, (1 + step) / (10 + step))
    averages: PyTree = jax.tree.map(
        lambda average, now: kept * average + (1 - kept) * now, state.ema, params
    )
    return averages


def carries_before(state: TrainState, batch: Batch) -> tuple[Carry, ...] | None:
    """What the LSTM layers start from, (batch, hidden) each; None: zeros.

    The state has a batch's own rows, so that it goes on on any number of devices; the rows that
    fill a batch up for them start from zeros.
    """
    if state.carries is None:
        return None
    continued = jnp.asarray(batch.continued)
    filling = len(continued) - len(state.carries[0].h)
    filled = jax.tree.map(lambda part: jnp.pad(part, ((0, filling), (0, 0))), state.carries)
    return tuple(continue_carry(carry, continued) for carry in filled)


def carries_after(state: TrainState, carries: tuple[Carry, ...]) -> tuple[Carry, ...] | None:
    """Those of a batch's own rows; None where the state has none."""
    if state.carries is None:
        return None
    rows = len(state.carries[0].h)
    own: tuple[Carry, ...] = jax.tree.map(lambda part: part[:rows], carries)
    return own


def train_steps(
    state: TrainState,
    batches: Batch | CorpusBatches,
    count: jax.Array,
    *,
    graphdef: nnx.GraphDef[MusicLSTM],
    optimizer: optax.GradientTransformationExtraArgs,
    seed: int,
    steps_per_epoch: int,
    ema_decay: float = 0.0,
    window: int,
    objective: Objective,
) -> tuple[TrainState, jax.Array]:
    """Train on the first `count` of several batches: the new state, and each loss (steps,).

    A loop over the step, so that `count` changes no bit of the result.
    """

    def step(
        number: jax.Array, so_far: tuple[TrainState, jax.Array]
    ) -> tuple[TrainState, jax.Array]:
        state, losses = so_far
        batch = batch_at(batches, number, window=window, objective=objective)
        state, loss = train_step(
            state,
            batch,
            graphdef=graphdef,
            optimizer=optimizer,
            seed=seed,
            steps_per_epoch=steps_per_epoch,
            ema_decay=ema_decay,
        )
        return state, losses.at[number].set(loss)

    losses = jnp.zeros(batches.weights.shape[0], jnp.float32)
    after: tuple[TrainState, jax.Array] = lax.fori_loop(0, count, step, (state, losses))
    return after
