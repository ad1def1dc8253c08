"""The windows of whole songs, which the LSTM state is carried through."""

from collections.abc import Sequence

import numpy as np

from jaxmusic.data.windows import Windows, split_targets


class SongWindows(Windows):
    """The consecutive windows of each song, which together have each of its targets once.

    A song of n tokens has n - 1 targets, in ceil((n - 1) / window) windows. The last one may have
    fewer than the others: it is padded with the song's last token, and `lengths` counts the rest.
    So no token is lost, short songs are of use, and nothing is drawn to choose where windows start.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        token_ranges: Sequence[tuple[int, int]] | np.ndarray,
        window: int,
    ) -> None:
        """`token_ranges` are the songs, (start, stop) each, in the order of the stream."""
        super().__init__(tokens, token_ranges, window, stride=window, objective="every")
        stops = np.asarray(token_ranges, np.int64).reshape(-1, 2)[:, 1]
        self.targets = np.maximum(0, stops - self.starts - 1)  # (songs,)
        self.counts = -(-self.targets // window)  # (songs,) windows
        self.ends = np.cumsum(self.counts)

    def lengths(self, offsets: np.ndarray) -> np.ndarray:
        """Targets in the windows at stream offsets, all but the padding: shaped as `offsets`."""
        songs = np.searchsorted(self.starts, offsets, side="right") - 1
        left = self.starts[songs] + self.targets[songs] - offsets
        shorter: np.ndarray = np.minimum(left, self.window)
        return shorter

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of window `index`, (window,) each, with its padding."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        inputs, targets = split_targets(self.gather(self.offsets(np.array([index]))), "every")
        return inputs[0], targets[0]

    def gather(self, offsets: np.ndarray) -> np.ndarray:
        """The windows that start at `offsets` (batch,), padded: (batch, window + 1)."""
        steps = np.arange(self.window + 1)
        rows: np.ndarray = self.tokens[
            offsets[:, None] + np.minimum(steps, self.lengths(offsets)[:, None])
        ]
        return rows

    def unpadded(self) -> Windows:
        """The windows without padding; where all songs are too short, those of the whole stream."""
        songs = np.stack([self.starts, self.starts + self.targets + 1], axis=1)
        inside = Windows(self.tokens, songs, self.window, stride=self.window, objective="every")
        if len(inside):
            return inside
        return Windows(self.tokens, [(0, len(self.tokens))], self.window, objective="every")
