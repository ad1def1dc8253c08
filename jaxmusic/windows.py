"""Windows as views of the token stream, and the split by song."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jaxmusic.errors import UserError

Objective = Literal["last", "every"]


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
        objective: Objective = "last",
    ) -> None:
        self.tokens = tokens
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
        inputs, targets = cut_rows(self.rows[self.places(np.array(index))], self.objective)
        return inputs, targets

    def gather(self, places: np.ndarray) -> np.ndarray:
        """The windows that start at `places` (batch,), with their targets: (batch, window + 1).

        They are copied; `cut_rows` parts inputs and targets.
        """
        rows: np.ndarray = self.rows[places]
        return rows


def cut_rows(rows: Any, objective: Objective) -> tuple[Any, Any]:
    """Inputs and targets of rows (..., window + 1): views, of arrays of NumPy or JAX.

    For `last` the target is the one token after the inputs, (...,); for `every` it is the next
    one at each position, (..., window).
    """
    targets = rows[..., -1] if objective == "last" else rows[..., 1:]
    return rows[..., :-1], targets


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
