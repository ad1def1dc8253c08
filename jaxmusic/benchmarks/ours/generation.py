"""Generation by jaxmusic: a compiled scan over tokens, for several pieces at once."""

from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmusic.benchmarks.harness.weights import load_weights, save_weights
from jaxmusic.benchmarks.workload import Workload
from jaxmusic.distributed.devices import find_devices
from jaxmusic.run import Run
from jaxmusic.sampling.choice import SamplingConfig
from jaxmusic.sampling.context import WindowMethod
from jaxmusic.sampling.generate import generate
from jaxmusic.tokenizers.vocabulary import Vocabulary
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.state import new_state


class Generation:
    """A run with untrained weights, and the pieces that it makes."""

    @pinned_settings()
    def __init__(
        self, workload: Workload, weights: Path, pieces: int, length: int, method: WindowMethod
    ) -> None:
        self.workload = workload
        self.pieces = pieces
        self.length = length
        self.method = method
        find_devices()
        state = new_state(workload.config, workload.vocabulary_size)
        if not weights.exists():
            save_weights(state.params, weights)
        self.run_ = Run(
            path=Path(),
            config=workload.config,
            vocabulary=Vocabulary(tuple(f"{number:05}" for number in range(self._size))),
            step=0,
            params=jax.tree.map(np.asarray, load_weights(weights)),
            batch_stats=jax.tree.map(np.asarray, state.batch_stats),
            primers=self.prime[None],
        )

    def first_tokens(self) -> list[int]:
        """The ids that follow the prime, by always the likeliest."""
        (piece,) = generate(
            self.run_,
            length=self.length,
            sampling=SamplingConfig(greedy=True),
            method=self.method,
        )
        return [int(token) for token in piece]

    def run(self, steps: int) -> None:
        """Generate pieces of `length` tokens until each has the requested number."""
        for seed in range(0, steps, self.length):
            generate(
                self.run_,
                length=self.length,
                count=self.pieces,
                seed=seed,
                method=self.method,
            )

    def report(self) -> dict[str, Any]:
        """What else was measured."""
        stats = jax.local_devices()[0].memory_stats() or {}
        return {"device_peak_bytes": stats.get("peak_bytes_in_use")}

    @property
    def _size(self) -> int:
        return self.workload.vocabulary_size

    @cached_property
    def prime(self) -> np.ndarray:
        """The window that all pieces go on from."""
        inputs: np.ndarray = self.workload.sampler().windows[0][0]
        return inputs


def build(arguments: dict[str, Any]) -> Generation:
    """Build the program of a request."""
    return Generation(
        Workload.from_json(arguments["workload"]), Path(arguments["weights"]),
        arguments["pieces"], arguments["length"], arguments["method"],
    )  # fmt: skip
