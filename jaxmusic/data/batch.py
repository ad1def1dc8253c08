"""Batches: windows from the host, or stream offsets into a corpus on the devices."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmusic.config import Objective
from jaxmusic.data.windows import split_targets


class Batch(NamedTuple):
    """The input of one step. Padding rows repeat the batch's first row, with weight 0."""

    inputs: np.ndarray  # (batch, window) token ids
    targets: np.ndarray  # (batch,) ids for the objective `last`, (batch, window) for `every`
    weights: np.ndarray  # (batch,) float32: 1 for a window, 0 for padding


class BatchIndex(NamedTuple):
    """Stream offsets of a batch's windows."""

    starts: np.ndarray  # (batch,) int64
    weights: np.ndarray  # (batch,) float32, as in Batch
    shifts: np.ndarray | None  # (batch,) int64: rows of the token map; None: no map


class CorpusBatches(NamedTuple):
    """Batches of several steps, as offsets into a corpus on the devices."""

    tokens: jax.Array  # (tokens,) the whole stream
    starts: jax.Array  # (steps, batch) int32: stream offsets of the windows
    weights: jax.Array  # (steps, batch) float32, as in Batch
    shifts: jax.Array | None = None  # (steps, batch) int32: rows of the table
    table: jax.Array | None = None  # of a TokenMap; None: no map


def batch_at(
    batches: Batch | CorpusBatches, number: jax.Array, *, window: int, objective: Objective
) -> Batch:
    """Batch `number` of several: arrays with a leading axis of steps, or offsets."""
    if isinstance(batches, Batch):
        return Batch(*(array[number] for array in batches))
    positions = batches.starts[number][:, None] + jnp.arange(window + 1, dtype=jnp.int32)
    rows = batches.tokens.at[positions].get(mode="promise_in_bounds")
    if batches.table is not None and batches.shifts is not None:
        rows = map_rows(rows, batches.table, batches.shifts[number])
    return Batch(*split_targets(rows, objective), batches.weights[number])  # type: ignore[arg-type]


def map_rows(rows: Any, table: Any, shifts: Any) -> Any:
    """Map rows (batch, time) from the corpus's ids to the run's, with NumPy or JAX.

    Row i uses row `shifts[i]` of the table. A row with a token that would leave the vocabulary is
    not transposed.
    """
    moved = table[shifts[:, None], rows]
    stays = (moved < 0).any(axis=1)[:, None]
    return moved * ~stays + table[0][rows] * stays
