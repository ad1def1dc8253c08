"""What a step sees: batches of windows, on the host or as stream offsets on the devices."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmusic.config import Objective
from jaxmusic.data.windows import split_targets


class Batch(NamedTuple):
    """What one step sees. Rows past the end of an epoch repeat the batch's first, with weight 0."""

    inputs: np.ndarray  # (batch, window) token ids
    targets: np.ndarray  # (batch,) ids for the objective `last`, (batch, window) for `every`
    weights: np.ndarray  # (batch,) float32: 1 for a window, 0 for filling


class BatchIndex(NamedTuple):
    """Where a batch's windows start in the token stream."""

    starts: np.ndarray  # (batch,) int64
    weights: np.ndarray  # (batch,) float32, as a batch's
    shifts: np.ndarray | None  # (batch,) int64: which row of the token map; None: no map


class CorpusBatches(NamedTuple):
    """Batches of several steps, as places in a corpus that lies on the devices."""

    tokens: jax.Array  # (tokens,) the whole stream
    starts: jax.Array  # (steps, batch) int32: where the windows start
    weights: jax.Array  # (steps, batch) float32, as a Batch's
    shifts: jax.Array | None = None  # (steps, batch) int32: which row of the table
    table: jax.Array | None = None  # of a TokenMap; None: the corpus's ids are the run's


def batch_at(
    batches: Batch | CorpusBatches, number: jax.Array, *, window: int, objective: Objective
) -> Batch:
    """One of several batches: of arrays with an axis of steps before the others', or of places."""
    if isinstance(batches, Batch):
        return Batch(*(array[number] for array in batches))
    positions = batches.starts[number][:, None] + jnp.arange(window + 1, dtype=jnp.int32)
    rows = batches.tokens.at[positions].get(mode="promise_in_bounds")
    if batches.table is not None and batches.shifts is not None:
        rows = map_rows(rows, batches.table, batches.shifts[number])
    return Batch(*split_targets(rows, objective), batches.weights[number])  # type: ignore[arg-type]


def map_rows(rows: Any, table: Any, shifts: Any) -> Any:
    """Rows of the corpus's ids (batch, time) as the run's: arrays of NumPy, or of JAX.

    `shifts` (batch,) says which row of the table each is read by. A row of which any token leaves
    the vocabulary is not transposed.
    """
    moved = table[shifts[:, None], rows]
    stays = (moved < 0).any(axis=1)[:, None]
    return moved * ~stays + table[0][rows] * stays
