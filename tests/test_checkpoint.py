"""Checkpoints: latest, best, damage."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmusic.checkpoint import CheckpointError, Checkpoints


def state_of(step: int) -> dict[str, Any]:
    values = jnp.arange(5000, dtype=jnp.float32) * step
    return {"params": {"lstm": {0: values, 1: values[:7]}}, "step": jnp.int32(step)}


ABSTRACT = jax.eval_shape(lambda: state_of(1))


def save(folder: Path, scores: dict[int, float | None]) -> None:
    with Checkpoints(folder) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, state_of(step), score=score)


def damage(folder: Path, step: int) -> None:
    """Flip a bit in the largest file, which holds the arrays."""
    files = [path for path in (folder / str(step) / "state").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    save(tmp_path, {3: None})
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(ABSTRACT)
    assert restored is not None
    assert restored.step == 3 and restored.score is None
    # Raises for trees of another structure.
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_of(3))


def test_nothing_saved_is_nothing_restored(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_latest(ABSTRACT) is None
        assert checkpoints.restore_best(ABSTRACT) is None


def test_the_latest_and_the_best_are_kept(tmp_path: Path) -> None:
    """In one process or over restarts; a save inside an epoch has no score; NaN is no best."""
    scores = {1: 5.0, 2: 3.0, 3: None, 4: float("nan"), 5: 4.0, 6: None, 7: None}
    for step, score in scores.items():
        save(tmp_path, {step: score})
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        latest = checkpoints.restore_latest(ABSTRACT)
        best = checkpoints.restore_best(ABSTRACT)
    assert latest is not None and latest.step == 7
    assert best is not None and (best.step, best.score) == (2, 3.0)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 6, 7]


def test_before_an_epoch_ends_the_best_is_the_latest(tmp_path: Path) -> None:
    save(tmp_path, {1: None, 2: None})
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        best = checkpoints.restore_best(ABSTRACT)
    assert best is not None and best.step == 2


def test_a_flipped_bit_is_found_and_the_older_one_used(tmp_path: Path) -> None:
    save(tmp_path, {1: None, 2: None})
    damage(tmp_path, 2)
    told: list[str] = []
    with Checkpoints(tmp_path, tell=told.append) as checkpoints:
        restored = checkpoints.restore_latest(ABSTRACT)
        assert restored is not None and restored.step == 1
        assert len(told) == 1 and "step 2 is damaged" in told[0]
        # Training goes on from 1, and saves 2 again in its place.
        checkpoints.save(2, state_of(2))
    with Checkpoints(tmp_path) as checkpoints:
        again = checkpoints.restore_latest(ABSTRACT)
    assert again is not None and again.step == 2


def test_when_all_are_damaged_it_is_told_and_nothing_is_deleted(tmp_path: Path) -> None:
    save(tmp_path, {1: None, 2: None})
    damage(tmp_path, 1)
    damage(tmp_path, 2)
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match=r"steps 2, 1\) are damaged"),
    ):
        checkpoints.restore_latest(ABSTRACT)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


def test_a_donated_state_may_change_while_it_is_saved(tmp_path: Path) -> None:
    change = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 0, state), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        state = state_of(4)
        checkpoints.save(4, state)
        change(state)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(ABSTRACT)
    assert restored is not None
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_of(4))
