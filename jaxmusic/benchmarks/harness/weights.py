"""The network's weights as a file that every program can read, whatever its framework."""

from pathlib import Path
from typing import Any

import numpy as np

Weights = dict[Any, Any]  # nested: layer names (or numbers) and arrays, as jaxmusic's params


def save_weights(weights: Weights, path: Path) -> None:
    """Write nested arrays as one .npz."""
    np.savez(path, **dict(_flat(weights, "")))  # type: ignore[arg-type]


def load_weights(path: Path) -> Weights:
    """Read what `save_weights` wrote."""
    tree: Weights = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            *parents, last = [int(p) if p.isdigit() else p for p in name.split("/")]
            branch = tree
            for parent in parents:
                branch = branch.setdefault(parent, {})
            branch[last] = arrays[name]
    return tree


def _flat(tree: Weights, prefix: str) -> list[tuple[str, np.ndarray]]:
    found: list[tuple[str, np.ndarray]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}/")
        else:
            found.append((f"{prefix}{name}", np.asarray(value)))
    return found
