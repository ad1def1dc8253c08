"""Small checkpoints, and damage to them."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmusic.run_dir.checkpoint import Checkpoints
from jaxmusic.storage.checksums import MANIFEST, write_manifest


def state_of(step: int) -> dict[str, Any]:
    values = jnp.arange(5000, dtype=jnp.float32) * step
    return {"params": {"lstm": {0: values, 1: values[:7]}}, "step": jnp.int32(step)}


ABSTRACT = jax.eval_shape(lambda: state_of(1))


def save(folder: Path, scores: dict[int, float | None]) -> None:
    with Checkpoints(folder) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, state_of(step), score=score)


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"precious")


def flip_bit(folder: Path, step: int) -> None:
    """Flip a bit in the largest file, which holds the arrays."""
    files = [path for path in (folder / str(step) / "state").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def restored_step(folder: Path, logged: list[str], *, best: bool = False) -> int:
    with Checkpoints(folder, read_only=True, log=logged.append) as checkpoints:
        restored = (
            checkpoints.restore_best(ABSTRACT) if best else checkpoints.restore_latest(ABSTRACT)
        )
    assert restored is not None
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_of(restored.step))
    return restored.step


def steps_in(folder: Path) -> list[int]:
    """Of all that is there; fails for what isn't a step."""
    return sorted(int(path.name) for path in folder.iterdir())


def steps_kept(folder: Path) -> list[int]:
    """But for what a failed save has left, while threads of Orbax's were still writing."""
    names = [path.name for path in folder.iterdir()]
    return sorted(int(name) for name in names if not name.startswith(".partial-"))


def rewrite_manifest(folder: Path, **about: Any) -> None:
    """Write the manifest of a checkpoint with other values, as another version might."""
    seal = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).unlink()
    write_manifest(folder, {**seal["about"], **about})
