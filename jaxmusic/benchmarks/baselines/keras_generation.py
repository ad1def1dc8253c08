"""Generation as in the notebooks' companion: `model.predict` of a whole window for each token."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxmusic.benchmarks.baselines.keras import build_model, set_weights
from jaxmusic.benchmarks.harness.weights import load_weights
from jaxmusic.benchmarks.workload import Workload


class Baseline:
    """Keras's network, and a sliding window for each piece."""

    def __init__(self, workload: Workload, weights: Path, pieces: int) -> None:
        self.workload = workload
        self.model = build_model(workload)
        set_weights(self.model, load_weights(weights))
        self.prime = workload.sampler().windows[0][0]
        self.windows = np.tile(self.prime, (pieces, 1))

    def first_tokens(self, count: int) -> list[int]:
        """The ids that follow the primer, by greedy choice."""
        windows, found = self.prime[None], []
        for _ in range(count):
            windows = self._next(windows)
            found.append(int(windows[0, -1]))
        return found

    def run(self, steps: int) -> None:
        """Generate tokens for each piece."""
        for _ in range(steps):
            self.windows = self._next(self.windows)

    def report(self) -> dict[str, Any]:
        """Nothing else is measured."""
        return {}

    def _next(self, windows: np.ndarray) -> np.ndarray:
        inputs: np.ndarray = windows.astype(np.int32)
        if self.workload.model.input == "scalar":
            inputs = (windows[..., None] / self.workload.vocabulary_size).astype(np.float32)
        logits = self.model.predict(inputs, batch_size=len(windows), verbose=0)
        last = logits if logits.ndim == 2 else logits[:, -1]
        return np.concatenate([windows[:, 1:], last.argmax(axis=1)[:, None]], axis=1)


def build(arguments: dict[str, Any]) -> Baseline:
    """Build the program of a request."""
    return Baseline(
        Workload.from_json(arguments["workload"]), Path(arguments["weights"]), arguments["pieces"]
    )
