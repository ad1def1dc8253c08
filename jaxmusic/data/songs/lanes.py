"""Lanes: which window of which song each row of a batch has at each step."""

import heapq
from typing import NamedTuple

import numpy as np


class LaneWindows(NamedTuple):
    """A window for each of several lanes; where a lane has ended, the first one of all."""

    songs: np.ndarray  # (lanes,) int64
    numbers: np.ndarray  # (lanes,) int64: of the window in its song
    present: np.ndarray  # (lanes,) bool: False where the lane has ended
    continued: np.ndarray  # (lanes,) bool: the lane's previous step had the window before


class Lanes:
    """Songs laid end to end, as one sequence of windows, which is cut into lanes.

    A step has one window of each lane, the next step the next one. Memory grows with the number of
    songs, and any step is found at once.
    """

    def __init__(self, counts: np.ndarray, order: np.ndarray, bounds: np.ndarray) -> None:
        """Lay out songs in an order.

        Args:
            counts: (songs,) windows of each song.
            order: (songs,) the song at each place of the sequence.
            bounds: (lanes + 1,) where each lane begins in the sequence, and the end of the last.
        """
        self._order = order
        self._ends = np.cumsum(counts[order])
        self._starts = self._ends - counts[order]
        self._bounds = bounds

    @classmethod
    def cut_evenly(cls, counts: np.ndarray, order: np.ndarray, lanes: int) -> "Lanes":
        """Lanes of equal length, or one less: all are in use at every step but the last.

        Only a lane's first window may be inside a song.
        """
        return cls(counts, order, np.arange(lanes + 1) * int(counts.sum()) // lanes)

    @classmethod
    def of_whole_songs(cls, counts: np.ndarray, lanes: int) -> "Lanes":
        """Lanes of whole songs: each song, the longest first, goes to the shortest lane so far."""
        songs: list[list[int]] = [[] for _ in range(lanes)]
        lengths = [(0, lane) for lane in range(lanes)]  # a heap
        for song in np.argsort(-counts, kind="stable").tolist():
            length, lane = lengths[0]
            songs[lane].append(song)
            heapq.heapreplace(lengths, (length + int(counts[song]), lane))
        by_lane = dict((lane, length) for length, lane in lengths)
        bounds = np.cumsum([0, *(by_lane[lane] for lane in range(lanes))])
        return cls(counts, np.array([song for lane in songs for song in lane], np.int64), bounds)

    @property
    def steps(self) -> int:
        """Steps until all lanes have ended."""
        return int(np.diff(self._bounds).max())

    def at(self, step: int, lanes: np.ndarray) -> LaneWindows:
        """The windows of some lanes at a step; lanes beyond the last one count as ended."""
        exists = lanes < len(self._bounds) - 1
        lanes = np.where(exists, lanes, 0)
        positions = self._bounds[lanes] + step
        present = exists & (positions < self._bounds[lanes + 1])
        positions = np.where(present, positions, 0)
        places = np.searchsorted(self._ends, positions, side="right")
        numbers = positions - self._starts[places]
        return LaneWindows(
            self._order[places], numbers, present, present & (numbers > 0) & (step > 0)
        )
