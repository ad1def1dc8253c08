"""Windows as views of the token stream, the split by song, and the feed of batches."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from jaxmusic.errors import UserError
from jaxmusic.order import shuffled

# Positions of the order that are computed at once: enough to make one call cheap an index
# (about 40 ns), small beside everything else in memory.
ORDER_CHUNK = 1 << 14


class Batch(NamedTuple):
    """What one step sees. Rows past the end of an epoch repeat its first row with weight 0."""

    inputs: np.ndarray  # (batch, window) token ids
    targets: np.ndarray  # (batch,) ids for the objective `last`, (batch, window) for `every`
    weights: np.ndarray  # (batch,) float32: 1 for a window, 0 for filling


class Windows:
    """All windows of some stretches of a token stream; none is ever stored.

    Window i is `window` tokens and what follows them. In each stretch (start, stop) of the
    stream, windows start every `stride` tokens and end, target included, inside it. Memory
    grows with the number of stretches alone.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        stretches: Sequence[tuple[int, int]],
        window: int,
        *,
        stride: int = 1,
        objective: Literal["last", "every"] = "last",
    ) -> None:
        self.window = window
        self.stride = stride
        self.objective = objective
        self.starts = np.array([start for start, _ in stretches], np.int64)
        lengths = np.array([stop - start for start, stop in stretches], np.int64)
        counts = np.maximum(0, (lengths - window - 1) // stride + 1)
        self.ends = np.cumsum(counts)  # windows up to and with each stretch
        # Every stretch of window + 1 tokens as a row, all of them views of the one stream.
        self.rows = (
            np.lib.stride_tricks.sliding_window_view(tokens, window + 1)
            if len(tokens) > window
            else np.empty((0, window + 1), tokens.dtype)
        )

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def places(self, indices: np.ndarray) -> np.ndarray:
        """Where in the stream the windows start: int64, shaped as `indices`."""
        stretch = np.searchsorted(self.ends, indices, side="right")
        before = np.where(stretch > 0, self.ends[stretch - 1], 0)
        places: np.ndarray = self.starts[stretch] + (indices - before) * self.stride
        return places

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Window `index` as views: inputs (window,), and the target: () or (window,)."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        inputs, targets = self._cut(self.rows[self.places(np.array(index))])
        return inputs, targets

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows (batch,) copied into a batch: inputs (batch, window) and their targets."""
        return self._cut(self.rows[self.places(indices)])

    def _cut(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        targets = rows[..., -1] if self.objective == "last" else rows[..., 1:]
        return rows[..., :-1], targets


class Feed:
    """The batches of a training: what step number `step` sees is a function of (seed, step)."""

    def __init__(
        self, windows: Windows, batch_size: int, *, seed: int, rows: int | None = None
    ) -> None:
        """`rows` are those of a batch, `batch_size` or more: devices share them evenly."""
        self.windows = windows
        self.batch_size = batch_size
        self.rows = rows or batch_size
        self.seed = seed
        self.steps_per_epoch = -(-len(windows) // batch_size)
        self._chunk: tuple[int, int] | None = None  # (epoch, number) of the order at hand
        self._order = np.empty(0, np.int64)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted over all epochs from 0."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        first = step_of_epoch * self.batch_size
        positions = np.arange(first, min(first + self.batch_size, len(self.windows)))
        return _filled(self.windows, self._indices(epoch, positions), self.rows)

    def _indices(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        parts = []
        for number in range(positions[0] // ORDER_CHUNK, positions[-1] // ORDER_CHUNK + 1):
            start = number * ORDER_CHUNK
            if self._chunk != (epoch, number):
                chunk = np.arange(start, min(start + ORDER_CHUNK, len(self.windows)))
                self._order = shuffled(chunk, len(self.windows), seed=self.seed, epoch=epoch)
                self._chunk = (epoch, number)
            here = positions[positions // ORDER_CHUNK == number]
            parts.append(self._order[here - start])
        return np.concatenate(parts)


def batches_in_order(windows: Windows, batch_size: int) -> Iterator[Batch]:
    """All windows once, from the first to the last: for evaluation."""
    for first in range(0, len(windows), batch_size):
        indices = np.arange(first, min(first + batch_size, len(windows)))
        yield _filled(windows, indices, batch_size)


def _filled(windows: Windows, indices: np.ndarray, batch_size: int) -> Batch:
    """The windows as a batch of full size, so that one compiled step serves all."""
    weights = np.zeros(batch_size, np.float32)
    weights[: len(indices)] = 1
    filling = np.full(batch_size - len(indices), indices[0])
    inputs, targets = windows.gather(np.concatenate([indices, filling]))
    return Batch(inputs, targets, weights)


def held_out_songs(names: Sequence[str], share: float, *, seed: int) -> np.ndarray:
    """Which songs to keep out of training: (songs,) of bool.

    The songs are ranked by a hash of their name and the seed, and the first `share` of them (at
    least one) are kept out: the same ones on every machine, whatever else the set holds.

    Raises UserError where that would leave no song to train on.
    """
    held = np.zeros(len(names), bool)
    if share == 0:
        return held
    count = max(1, round(share * len(names)))
    if count >= len(names):
        raise UserError(
            f"--held-out {share} keeps {count} of {len(names)} songs out and leaves none to "
            "train on: give more songs or a smaller share."
        )
    key = seed.to_bytes(8, "little")

    def rank(song: int) -> bytes:
        name = names[song].encode("utf-8", "surrogateescape")
        return hashlib.blake2b(name, key=key).digest()

    held[sorted(range(len(names)), key=rank)[:count]] = True
    return held


def stretches(
    offsets: np.ndarray, chosen: np.ndarray, *, across_songs: bool
) -> list[tuple[int, int]]:
    """The parts (start, stop) of the stream that windows may lie in.

    Args:
        offsets: (songs + 1,) where each song starts, and the end of the last.
        chosen: (songs,) of bool.
        across_songs: whether songs that follow each other are one stretch.
    """
    parts: list[tuple[int, int]] = []
    for song in np.flatnonzero(chosen):
        start, stop = int(offsets[song]), int(offsets[song + 1])
        if across_songs and parts and parts[-1][1] == start:
            parts[-1] = (parts[-1][0], stop)
        else:
            parts.append((start, stop))
    return parts
