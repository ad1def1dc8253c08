"""The training program, for jax.jit over a mesh."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxmusic.config import Config
from jaxmusic.data.batch import Batch, CorpusBatches
from jaxmusic.distributed.mesh import local_rows, replicated_sharding, row_sharding
from jaxmusic.training.optimizer import make_optimizer
from jaxmusic.training.state import PyTree, abstract_state, model_graphdef
from jaxmusic.training.step import train_steps

Program = Any  # jax.jit's, to be called, or lowered and compiled


def training_program(
    config: Config, vocabulary_size: int, mesh: Mesh, *, steps_per_epoch: int
) -> Program:
    """Jit `train_steps` over the devices of a mesh; the state is donated."""
    return jax.jit(
        partial(
            train_steps,
            graphdef=model_graphdef(config, vocabulary_size),
            optimizer=make_optimizer(config.train),
            seed=config.train.seed,
            steps_per_epoch=steps_per_epoch,
            ema_decay=config.train.ema_decay,
            window=config.data.window,
            objective=config.model.objective,
        ),
        donate_argnums=0,
        out_shardings=replicated_sharding(mesh),
    )


def training_arguments(
    config: Config,
    vocabulary_size: int,
    mesh: Mesh,
    *,
    steps: int,
    tokens: int | None = None,
    dtype: Any = jnp.uint16,
) -> tuple[PyTree, PyTree, jax.ShapeDtypeStruct]:
    """Shapes of the arguments of `training_program`, to compile it without data.

    Args:
        steps: capacity of a dispatch.
        tokens: of a corpus on the devices; None: the batches come from the host.
        dtype: of the tokens.
    """

    def shaped(shape: tuple[int, ...], dtype: Any, rows_axis: int | None = None) -> Any:
        sharding = replicated_sharding(mesh) if rows_axis is None else row_sharding(mesh, rows_axis)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    state = jax.tree.map(
        lambda leaf: shaped(leaf.shape, leaf.dtype), abstract_state(config, vocabulary_size)
    )
    rows = (steps, local_rows(config.train.batch_size, mesh).total)
    weights = shaped(rows, jnp.float32, 1)
    lengths = continued = None
    if config.data.carry_state:
        lengths, continued = shaped(rows, jnp.int32, 1), shaped(rows, bool, 1)
    batches: PyTree
    if tokens is not None:
        batches = CorpusBatches(
            shaped((tokens,), dtype), shaped(rows, jnp.int32, 1), weights,
            lengths=lengths, continued=continued,
        )  # fmt: skip
    else:
        inputs = (*rows, config.data.window)
        targets = inputs if config.model.objective == "every" else rows
        if config.data.carry_state:
            weights = shaped(inputs, jnp.float32, 1)
        batches = Batch(shaped(inputs, dtype, 1), shaped(targets, dtype, 1), weights, continued)
    return state, batches, shaped((), jnp.int32)
