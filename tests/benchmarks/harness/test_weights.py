"""Weights in files, for the baselines."""

from pathlib import Path

import jax
import numpy as np

from jaxmusic.benchmarks.harness.weights import load_weights, save_weights


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    weights = {"lstm": {0: {"bias": np.arange(3.0)}}, "dense": {"kernel": np.eye(2)}}
    save_weights(weights, tmp_path / "w.npz")
    back = load_weights(tmp_path / "w.npz")
    jax.tree.map(np.testing.assert_array_equal, back, weights)
