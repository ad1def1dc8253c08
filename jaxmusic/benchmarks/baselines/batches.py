"""From a corpus's tokens to batches: jaxmusic's feed, and the notebooks' loops."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxmusic.benchmarks.workload import Workload


class Feeding:
    """Batches in shuffled order, gathered from a memory-mapped stream."""

    def __init__(self, workload: Workload) -> None:
        self.sampler = workload.sampler()
        windows = self.sampler.windows
        # On disk, as a corpus is.
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        path = Path(self.folder.name) / "tokens.npy"
        np.save(path, np.append(windows.rows[:, 0], windows.rows[-1, 1:]))
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        windows.rows = np.lib.stride_tricks.sliding_window_view(tokens, windows.window + 1)
        self.step = 0

    def run(self, steps: int) -> None:
        """Make `count` batches."""
        for step in range(self.step, self.step + steps):
            self.sampler.batch(step)
        self.step += steps

    def report(self) -> dict[str, Any]:
        """Nothing else is measured."""
        return {}


class NotebookLoops:
    """All windows as Python lists, then an array of floats, and one-hot targets."""

    def __init__(self, workload: Workload, windows: int) -> None:
        rows = workload.sampler().windows.rows
        ids = [*rows[:, 0].tolist(), *rows[-1, 1:].tolist()]
        self.notes = [f"note {number}" for number in ids[: windows + workload.window]]
        self.number_of = {note: int(note.split()[1]) for note in set(self.notes)}
        self.vocabulary_size = workload.vocabulary_size
        self.window = workload.window

    def run(self, steps: int) -> None:
        """Make all windows, `count` times."""
        for _ in range(steps):
            inputs, targets = [], []
            for start in range(len(self.notes) - self.window):
                window = self.notes[start : start + self.window]
                inputs.append([self.number_of[note] for note in window])
                targets.append(self.number_of[self.notes[start + self.window]])
            _ = np.reshape(inputs, (len(inputs), self.window, 1)) / float(self.vocabulary_size)
            _ = np.eye(self.vocabulary_size)[targets]

    def report(self) -> dict[str, Any]:
        """Nothing else is measured."""
        return {}


def build(arguments: dict[str, Any]) -> Feeding | NotebookLoops:
    """Build the program of a request."""
    workload = Workload.from_json(arguments["workload"])
    if arguments["way"] == "notebook loops":
        return NotebookLoops(workload, arguments["windows"])
    return Feeding(workload)
