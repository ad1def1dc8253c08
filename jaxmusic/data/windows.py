"""Windows as views of the token stream, and the split by song."""

import hashlib
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, BinaryIO

import numpy as np

from jaxmusic.config import DataConfig, Objective
from jaxmusic.errors import UserError


class Windows:
    """All windows in some ranges of a token stream, as views.

    A window is `window` tokens with the target after them. In each range (start, stop), windows
    start every `stride` tokens and end, target included, inside it. Memory grows only with the
    number of ranges.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        token_ranges: Sequence[tuple[int, int]] | np.ndarray,
        window: int,
        *,
        stride: int = 1,
        objective: Objective = "last",
    ) -> None:
        self.tokens = tokens
        # The file of the stream, for the system to prefetch from.
        self._file: BinaryIO | None = None
        self._offset = 0
        if isinstance(tokens, np.memmap) and hasattr(os, "posix_fadvise"):
            self._file = open(str(tokens.filename), "rb")  # noqa: SIM115 (as long as the windows)
            self._offset = tokens.offset
        self.window = window
        self.stride = stride
        self.objective = objective
        parts = np.asarray(token_ranges, np.int64).reshape(-1, 2)
        self.starts = parts[:, 0]
        lengths = parts[:, 1] - parts[:, 0]
        counts = np.maximum(0, (lengths - window - 1) // stride + 1)
        self.ends = np.cumsum(counts)  # cumulative windows, by range
        # (offsets, window + 1): a view of the stream at each offset.
        self.rows = (
            np.lib.stride_tricks.sliding_window_view(tokens, window + 1)
            if len(tokens) > window
            else np.empty((0, window + 1), tokens.dtype)
        )

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def offsets(self, indices: np.ndarray) -> np.ndarray:
        """Stream offsets where windows start: int64, shaped as `indices`."""
        part = np.searchsorted(self.ends, indices, side="right")
        before = np.where(part > 0, self.ends[part - 1], 0)
        offsets: np.ndarray = self.starts[part] + (indices - before) * self.stride
        return offsets

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Window `index` as views: inputs (window,), and the target: () or (window,)."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        inputs, targets = split_targets(self.rows[self.offsets(np.array(index))], self.objective)
        return inputs, targets

    def prefetch(self, offsets: np.ndarray) -> None:
        """Ask the system to read the windows at these offsets from the disk, all at once.

        Without this, each copy would wait for its own disk read.
        """
        if self._file is None:
            return
        descriptor, size = self._file.fileno(), self.tokens.itemsize
        length = (self.window + 1) * size
        for start in (self._offset + offsets * size).tolist():
            os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_WILLNEED)

    def gather(self, offsets: np.ndarray) -> np.ndarray:
        """The windows that start at `offsets` (batch,), with their targets: (batch, window + 1).

        A copy; `split_targets` splits inputs and targets.
        """
        rows: np.ndarray = self.rows[offsets]
        return rows

    def unpadded(self) -> "Windows":
        """Windows of the same songs without padding: these."""
        return self


def split_targets(rows: Any, objective: Objective) -> tuple[Any, Any]:
    """Inputs and targets of rows (..., window + 1): views, of arrays of NumPy or JAX.

    For `last` the target is the one token after the inputs, (...,); for `every` it is the next
    one at each position, (..., window).
    """
    targets = rows[..., -1] if objective == "last" else rows[..., 1:]
    return rows[..., :-1], targets


def held_out_songs(names: Sequence[str], data: DataConfig, *, seed: int) -> np.ndarray:
    """Choose the songs to hold out of training: (songs,) bool.

    They are those whose names match the pattern `held_out_match`, if it is given. Otherwise the
    songs are ranked by a hash of their name and the seed, and the first `held_out` of them (a
    share; at least one) are held out: the same ones on every machine.

    Raises UserError where that would leave no song to train on, or no song matches.
    """
    if data.held_out_match is not None:
        held = np.array([fnmatchcase(name, data.held_out_match) for name in names], bool)
        if held.all() or not held.any():
            raise UserError(
                f"--held-out-match {data.held_out_match} matches {held.sum():,} of {len(names):,} "
                "songs: give a pattern that matches some of their paths, but not all."
            )
        return held
    held = np.zeros(len(names), bool)
    share = data.held_out
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


def token_ranges(offsets: np.ndarray, chosen: np.ndarray, *, across_songs: bool) -> np.ndarray:
    """Ranges of the stream that windows may lie in: (ranges, 2) int64, each (start, stop).

    Args:
        offsets: (songs + 1,) where each song starts, and the end of the last.
        chosen: (songs,) of bool.
        across_songs: whether consecutive songs form one range.
    """
    # Padded with unchosen songs, so that each run of chosen ones has two ends.
    edged = np.concatenate([[False], chosen, [False]])
    if across_songs:
        first = np.flatnonzero(edged[1:] & ~edged[:-1])
        last = np.flatnonzero(edged[:-1] & ~edged[1:])
        return np.stack([offsets[first], offsets[last]], axis=1)
    return np.stack([offsets[:-1][chosen], offsets[1:][chosen]], axis=1)
