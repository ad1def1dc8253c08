"""The training state: parameters, batch statistics, optimizer state, step."""

import math
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxmusic.config import Config
from jaxmusic.nn.cell import Carry, zero_carry
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.training.compensated import CompensatedSum
from jaxmusic.training.early_stopping import EarlyStopping
from jaxmusic.training.optimizer import make_optimizer

PyTree = Any  # nested dicts of arrays


class TrainState(NamedTuple):
    """What a checkpoint holds and a step updates: a plain pytree.

    It has no random key and no position in the data: both follow from the seed and the step.
    """

    step: jax.Array  # () int32: steps done
    params: PyTree
    batch_stats: PyTree
    optimizer: optax.OptState
    loss_sum: CompensatedSum  # loss summed over this epoch's windows so far
    window_sum: CompensatedSum  # the number of those windows
    # What only some settings have; None: not in the checkpoint.
    ema: PyTree = None  # exponential moving averages of the parameters (--ema-decay)
    total_steps: jax.Array | None = None  # () int32: of the run, for --schedule; 0: not known yet
    early_stopping: EarlyStopping | None = None  # (--patience)
    # Of each LSTM layer after the last step, (batch_size, hidden) each (--carry-state). The loss
    # is then summed over targets, and `window_sum` counts those.
    carries: tuple[Carry, ...] | None = None

    @property
    def evaluated_params(self) -> PyTree:
        """What is evaluated and generated with: the moving averages where there are some."""
        return self.params if self.ema is None else self.ema

    def to_dict(self) -> dict[str, PyTree]:
        """What a checkpoint holds, by name: the fields that are not None."""
        return {name: part for name, part in self._asdict().items() if part is not None}

    def epoch_loss(self) -> float:
        """Mean loss of this epoch's windows so far; NaN when all its steps were skipped."""
        windows = self.window_sum.value()
        return self.loss_sum.value() / windows if windows else math.nan


def new_model(config: Config, vocabulary_size: int) -> MusicLSTM:
    """The network with the initial weights of the seed."""
    return MusicLSTM(
        config.model,
        vocabulary_size,
        precision=config.train.precision,
        recurrence=config.run.recurrence,
        rngs=nnx.Rngs(params=config.train.seed),
    )


@cache  # every program of a training needs it
def model_graphdef(config: Config, vocabulary_size: int) -> nnx.GraphDef[MusicLSTM]:
    """The network's graph definition, to `nnx.merge` with the arrays of a state."""
    abstract = nnx.eval_shape(lambda: new_model(config, vocabulary_size))
    return nnx.graphdef(abstract)


def new_state(config: Config, vocabulary_size: int) -> TrainState:
    """The state before the first step."""
    model = new_model(config, vocabulary_size)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)),
        optimizer=make_optimizer(config.train).init(params),
        loss_sum=CompensatedSum.zero(),
        window_sum=CompensatedSum.zero(),
        ema=jax.tree.map(jnp.copy, params) if config.train.ema_decay else None,
        total_steps=jnp.int32(0) if config.train.needs_total_steps else None,
        early_stopping=EarlyStopping.start() if config.train.patience is not None else None,
        carries=_zero_carries(config) if config.data.carry_state else None,
    )


def _zero_carries(config: Config) -> tuple[Carry, ...]:
    rows, hidden = config.train.batch_size, config.model.hidden_size
    return tuple(zero_carry(rows, hidden) for _ in range(config.model.layers))


def abstract_state(config: Config, vocabulary_size: int) -> TrainState:
    """Shapes and dtypes of the state, without computing it."""
    state: TrainState = jax.eval_shape(lambda: new_state(config, vocabulary_size))
    return state
