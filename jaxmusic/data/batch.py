"""Batches: windows from the host, or stream offsets into a corpus on the devices."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxmusic.config import Objective
from jaxmusic.data.windows import Windows, split_targets
from jaxmusic.distributed.row_range import RowRange


class Batch(NamedTuple):
    """The input of one step. Padding rows repeat a window of the corpus, with weight 0."""

    inputs: np.ndarray  # (batch, window) token ids
    targets: np.ndarray  # (batch,) ids for the objective `last`, (batch, window) for `every`
    # (batch,) float32: 1 for a window, 0 for padding; or where windows are padded (batch, window)
    weights: np.ndarray
    # (batch,) bool, where state is carried: whether the row goes on from its window in the batch
    # before; the others start from zero
    continued: np.ndarray | None = None


class BatchIndex(NamedTuple):
    """Stream offsets of a batch's windows."""

    starts: np.ndarray  # (batch,) int64
    weights: np.ndarray  # (batch,) float32: 1 for a window, 0 for padding
    shifts: np.ndarray | None  # (batch,) int64: rows of the token map; None: no map
    lengths: np.ndarray | None = None  # (batch,) int64: targets of padded windows; None: all have
    continued: np.ndarray | None = None  # (batch,) bool, as in Batch


class Sampler(Protocol):
    """Samples the training batch of each step; a batch is a function of (seed, step) alone."""

    table: np.ndarray | None  # of a TokenMap
    row_range: RowRange  # this process's rows of each batch
    steps_per_epoch: int

    @property
    def windows(self) -> Windows:
        """The windows to train on."""
        ...

    def batch_index(self, step: int) -> BatchIndex:
        """Where the windows of a step start. Steps count over all epochs, from 0."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step. Steps count over all epochs, from 0."""
        ...


class CorpusBatches(NamedTuple):
    """Batches of several steps, as offsets into a corpus on the devices."""

    tokens: jax.Array  # (tokens,) the whole stream
    starts: jax.Array  # (steps, batch) int32: stream offsets of the windows
    weights: jax.Array  # (steps, batch) float32, as in BatchIndex
    shifts: jax.Array | None = None  # (steps, batch) int32: rows of the table
    table: jax.Array | None = None  # of a TokenMap; None: no map
    lengths: jax.Array | None = None  # (steps, batch) int32, as in BatchIndex
    continued: jax.Array | None = None  # (steps, batch) bool, as in Batch


def batch_at(
    batches: Batch | CorpusBatches, number: jax.Array, *, window: int, objective: Objective
) -> Batch:
    """Batch `number` of several: arrays with a leading axis of steps, or offsets."""
    if isinstance(batches, Batch):
        one: Batch = jax.tree.map(lambda array: array[number], batches)
        return one
    starts, steps = batches.starts[number][:, None], jnp.arange(window + 1, dtype=jnp.int32)
    lengths = None if batches.lengths is None else batches.lengths[number][:, None]
    positions = starts + (steps if lengths is None else jnp.minimum(steps, lengths))
    rows = batches.tokens.at[positions].get(mode="promise_in_bounds")
    if batches.table is not None and batches.shifts is not None:
        rows = map_rows(rows, batches.table, batches.shifts[number])
    inputs, targets = split_targets(rows, objective)
    weights: Any = batches.weights[number]
    if lengths is not None:
        weights = weights[:, None] * (steps[:-1] < lengths)
    continued: Any = None if batches.continued is None else batches.continued[number]
    return Batch(inputs, targets, weights, continued)


def read_batch(windows: Windows, index: BatchIndex, table: np.ndarray | None) -> Batch:
    """Gather the windows of a batch; `table` is that of a TokenMap."""
    rows, weights = windows.gather(index.starts), index.weights
    if table is not None:
        rows = map_rows(rows, table, index.shifts)
    if index.lengths is not None:
        weights = weights[:, None] * (np.arange(windows.window) < index.lengths[:, None])
    return Batch(*split_targets(rows, windows.objective), weights, index.continued)


def map_rows(rows: Any, table: Any, shifts: Any) -> Any:
    """Map rows (batch, time) from the corpus's ids to the run's, with NumPy or JAX.

    Row i uses row `shifts[i]` of the table. A row with a token that would leave the vocabulary is
    not transposed.
    """
    moved = table[shifts[:, None], rows]
    stays = (moved < 0).any(axis=1)[:, None]
    return moved * ~stays + table[0][rows] * stays
