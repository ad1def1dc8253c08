"""Batches that follow songs: training with carried state, and evaluation of whole songs."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from jaxmusic.data.batch import Batch, BatchIndex, read_batch
from jaxmusic.data.shuffle import random_choice, shuffle
from jaxmusic.data.songs.lanes import Lanes, LaneWindows
from jaxmusic.data.songs.windows import SongWindows
from jaxmusic.data.token_map import TokenMap
from jaxmusic.distributed.row_range import RowRange


class SongSampler:
    """Samples the training batch of each step: each row goes through songs, window by window.

    In each epoch the songs are shuffled, laid end to end, and cut evenly into as many lanes as a
    batch has windows. The state starts from zero where a song begins, and in the lane's first
    window, which may be inside a song.
    """

    def __init__(
        self,
        windows: SongWindows,
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
        self._fits = None if self.table is None else _fitting_shifts(windows, self.table)
        self.batch_size = batch_size
        self.row_range = row_range or RowRange.all(batch_size)
        self.seed = seed
        self.steps_per_epoch = -(-len(windows) // batch_size)
        self._lanes = lru_cache(maxsize=2)(self._compute_lanes)

    def batch_index(self, step: int) -> BatchIndex:
        """Where the windows of a step start. Steps count over all epochs, from 0."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        rows = np.arange(self.row_range.start, self.row_range.stop)
        lane_windows = self._lanes(epoch).at(step_of_epoch, rows)
        return _index(self.windows, lane_windows, self._shifts(epoch, lane_windows.songs))

    def batch(self, step: int) -> Batch:
        """The batch of a step. Steps count over all epochs, from 0."""
        return read_batch(self.windows, self.batch_index(step), self.table)

    def _compute_lanes(self, epoch: int) -> Lanes:
        songs = len(self.windows.counts)
        order = shuffle(np.arange(songs), songs, seed=self.seed, epoch=epoch)
        return Lanes.cut_evenly(self.windows.counts, order, self.batch_size)

    def _shifts(self, epoch: int, songs: np.ndarray) -> np.ndarray | None:
        """Rows of the token map: one for all of a song, or else its state would tell another key.

        A song with a token that would leave the vocabulary stays as it is.
        """
        if self.table is None or self._fits is None:
            return None
        choices = len(self.table) - self._first_random_row
        shifts = random_choice(songs, choices, seed=self.seed, epoch=epoch) + self._first_random_row
        kept: np.ndarray = np.where(self._fits[songs, shifts], shifts, 0)
        return kept


def whole_song_batches(
    windows: SongWindows, row_range: RowRange, token_map: TokenMap | None = None
) -> Iterator[Batch]:
    """All windows once, without transposition, each song from its beginning in one row."""
    table = None if token_map is None else token_map.table
    lanes = Lanes.of_whole_songs(windows.counts, row_range.total)
    rows = np.arange(row_range.start, row_range.stop)
    for step in range(lanes.steps):
        index = _index(windows, lanes.at(step, rows), np.zeros(len(rows), np.int64))
        yield read_batch(windows, index, table)


def _index(
    windows: SongWindows, lane_windows: LaneWindows, shifts: np.ndarray | None
) -> BatchIndex:
    starts = windows.starts[lane_windows.songs] + lane_windows.numbers * windows.window
    return BatchIndex(
        starts,
        lane_windows.present.astype(np.float32),
        shifts,
        lengths=windows.lengths(starts),
        continued=lane_windows.continued,
    )


def _fitting_shifts(windows: SongWindows, table: np.ndarray) -> np.ndarray:
    """Whether all tokens of a song are in the vocabulary when shifted: (songs, shifts) bool."""
    fits = np.ones((len(windows.starts), len(table)), bool)
    leaves = (table < 0).T  # (tokens, shifts)
    if not leaves.any():
        return fits
    for song, (start, targets) in enumerate(zip(windows.starts, windows.targets, strict=True)):
        fits[song] = ~leaves[windows.tokens[start : start + targets + 1]].any(axis=0)
    return fits
