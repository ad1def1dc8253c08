"""The batches of training and of evaluation.

A batch is a function of (seed, step) alone; each process makes only its own rows.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from jaxmusic.data.batch import Batch, BatchIndex, Sampler, read_batch
from jaxmusic.data.shuffle import random_choice, shuffle
from jaxmusic.data.token_map import TokenMap
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.row_range import RowRange

# Positions of an epoch shuffled at once: a call then costs about 40 ns an index, and the chunk is
# small beside everything else in memory.
ORDER_CHUNK = 1 << 14
READERS = 4  # threads that copy windows; each waits for its own disk reads


class BatchSampler:
    """Samples the training batch of each step."""

    def __init__(
        self,
        windows: Windows,
        batch_size: int,
        *,
        seed: int,
        row_range: RowRange | None = None,
        token_map: TokenMap | None = None,
    ) -> None:
        """`row_range.total` may exceed `batch_size`, so that all devices have equal rows."""
        self.windows = windows
        self.table = None if token_map is None else token_map.table
        self._first_random_row = 0 if token_map is None else token_map.first_random_row
        self.batch_size = batch_size
        self.row_range = row_range or RowRange.all(batch_size)
        self.seed = seed
        self.steps_per_epoch = -(-len(windows) // batch_size)
        self._chunk = lru_cache(maxsize=2)(self._compute_chunk)

    def batch_index(self, step: int) -> BatchIndex:
        """Where the windows of a step start. Steps count over all epochs, from 0."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        first = step_of_epoch * self.batch_size
        size = min(self.batch_size, len(self.windows) - first)
        rows, weights = _rows(self.row_range, size)
        shifts = None
        if self.table is not None:
            choices = len(self.table) - self._first_random_row
            shifts = (
                random_choice(first + rows, choices, seed=self.seed, epoch=epoch)
                + self._first_random_row
            )
        return BatchIndex(self.windows.offsets(self._order(epoch, first + rows)), weights, shifts)

    def batch(self, step: int) -> Batch:
        """The batch of a step. Steps count over all epochs, from 0."""
        return read_batch(self.windows, self.batch_index(step), self.table)

    def _order(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        indices = np.empty(len(positions), np.int64)
        numbers = positions // ORDER_CHUNK
        for number in np.unique(numbers):
            here = numbers == number
            chunk = self._chunk(epoch, int(number))
            indices[here] = chunk[positions[here] - number * ORDER_CHUNK]
        return indices

    def _compute_chunk(self, epoch: int, number: int) -> np.ndarray:
        start = number * ORDER_CHUNK
        positions = np.arange(start, min(start + ORDER_CHUNK, len(self.windows)))
        return shuffle(positions, len(self.windows), seed=self.seed, epoch=epoch)


class Prefetcher:
    """Reads the batches of consecutive steps ahead.

    Each window of a large corpus is another page on the disk. The system is asked for the pages of
    several batches at once, and threads copy the windows, so that disk and devices work in
    parallel.
    """

    def __init__(self, sampler: Sampler, step: int, last_step: int) -> None:
        self._sampler = sampler
        self._next = step  # the next one to submit
        self._last = last_step
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="read-ahead")
        self._pending: deque[Future[Batch]] = deque()

    def batch(self) -> Batch:
        """The batch of the next step."""
        while len(self._pending) <= READERS and (self._next < self._last or not self._pending):
            index = self._sampler.batch_index(self._next)
            self._pending.append(self._pool.submit(self._read, index))
            self._next += 1
        return self._pending.popleft().result()

    def _read(self, index: BatchIndex) -> Batch:
        self._sampler.windows.prefetch(index.starts)
        return read_batch(self._sampler.windows, index, self._sampler.table)

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def sequential_batches(
    windows: Windows, row_range: RowRange, token_map: TokenMap | None = None
) -> Iterator[Batch]:
    """All windows once, in order and without transposition, for evaluation."""
    table = None if token_map is None else token_map.table
    for first in range(0, len(windows), row_range.total):
        size = min(row_range.total, len(windows) - first)
        rows, weights = _rows(row_range, size)
        unshifted = np.zeros(len(rows), np.int64)
        yield read_batch(
            windows, BatchIndex(windows.offsets(first + rows), weights, unshifted), table
        )


def _rows(row_range: RowRange, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A process's rows of a batch of `size` windows, and their weights.

    A smaller last batch is padded, so that one compiled step serves all.
    """
    rows = np.arange(row_range.start, row_range.stop)
    present = rows < size
    return np.where(present, rows, 0), present.astype(np.float32)
