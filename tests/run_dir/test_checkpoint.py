"""Checkpoints: saving, restoring, the latest and the best."""

import gc
from concurrent.futures import wait
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.checkpoints import ABSTRACT, restored_step, save, state_of, steps_in, steps_kept
from helpers.full_disk import no_file_longer_than

from jaxmusic.run_dir.checkpoint import CheckpointError, Checkpoints
from jaxmusic.run_dir.checkpoint_dir import CheckpointInfo
from jaxmusic.storage.checksums import DamageError, verify_manifest
from jaxmusic.storage.file_lock import LockError, hold_lock


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    save(tmp_path, {3: None})
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(ABSTRACT)
    assert restored is not None
    assert restored.step == 3 and restored.score is None
    # Raises for trees of another structure.
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_of(3))


def test_without_checkpoints_nothing_is_restored(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("worthless", [float("nan"), float("inf"), -float("inf"), None])
def test_a_score_that_is_not_finite_is_never_the_best(
    tmp_path: Path, worthless: float | None
) -> None:
    save(tmp_path, {1: worthless, 2: 7.0, 3: worthless, 4: 8.0, 5: worthless, 6: worthless})
    assert steps_in(tmp_path) == [2, 5, 6]
    assert restored_step(tmp_path, [], best=True) == 2


def test_a_reader_scans_again_when_a_listed_step_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, {1: None, 2: None})
    listed = iter([[3, 2], [2, 1]])
    monkeypatch.setattr(
        "jaxmusic.run_dir.checkpoint_dir.CheckpointDir.steps", lambda _: next(listed)
    )
    logged: list[str] = []
    assert restored_step(tmp_path, logged) == 2 and not logged and not list(listed)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_reader_scans_again_when_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """What it reads is removed, or replaced by one of the same step; that is no damage."""
    save(tmp_path, {1: None, 2: None})
    with Checkpoints(tmp_path) as training:
        training.restore_latest(ABSTRACT)
        moving = iter([True])

        def read_while_it_saves(folder: Path, kind: type[CheckpointInfo]) -> CheckpointInfo:
            if next(moving, False):
                for step in (2,) if replaced else (3, 4):
                    training.save(step, state_of(step), score=0.5)
                training._wait()
                if replaced:
                    raise DamageError("half old, half new")
            return verify_manifest(folder, kind)

        monkeypatch.setattr("jaxmusic.run_dir.checkpoint_dir.verify_manifest", read_while_it_saves)
        logged: list[str] = []
        assert restored_step(tmp_path, logged) == (2 if replaced else 4)
        assert not logged


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # TensorStore's
@pytest.mark.raises_at("jaxmusic/run_dir/checkpoint.py:_wait")
def test_a_failed_save_is_reported_and_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path, {1: 0.5, 2: None})
    with Checkpoints(tmp_path) as checkpoints:
        with no_file_longer_than(3000):
            checkpoints.save(3, state_of(3))
            wait([checkpoints._pending])  # type: ignore[list-item]
        with pytest.raises(CheckpointError, match="can't be written: File too large"):
            checkpoints.check()
        assert steps_kept(tmp_path) == [1, 2]
        checkpoints.save(4, state_of(4))
    assert steps_in(tmp_path) == [1, 2, 4]
    with (
        no_file_longer_than(3000),
        pytest.raises(CheckpointError, match="make room and start the same command again"),
        Checkpoints(tmp_path) as checkpoints,
    ):
        checkpoints.save(5, state_of(5))
    assert steps_kept(tmp_path) == [1, 2, 4]
    logged: list[str] = []
    with (
        no_file_longer_than(3000),
        pytest.raises(ZeroDivisionError),
        Checkpoints(tmp_path, log=logged.append) as checkpoints,
    ):
        checkpoints.save(6, state_of(6))
        raise ZeroDivisionError  # the first error is the one that ends the training
    assert len(logged) == 1 and "File too large" in logged[0]
    # Orbax leaves the failed writes' tasks to the garbage collector, which logs their errors: here,
    # not in the middle of a later test.
    gc.collect()


@pytest.mark.raises_at("jaxmusic/run_dir/checkpoint_dir.py:_refuse_other_training")
def test_a_training_stops_where_another_one_saved(tmp_path: Path) -> None:
    """Two at work on one run, whose lock failed: each checkpoint is whole, and none is lost."""
    save(tmp_path, {1: None, 2: None})
    with (
        pytest.raises(
            CheckpointError,
            match=r"Another training has saved step 5 in .* meanwhile: this one s",
        ),
        Checkpoints(tmp_path) as late,
    ):
        assert late.restore_latest(ABSTRACT) is not None
        save(tmp_path, {4: 1.0, 5: 2.0})
        late.save(3, state_of(3))
    with Checkpoints(tmp_path, read_only=True, log=pytest.fail) as checkpoints:
        latest, best = (
            checkpoints.restore_latest(ABSTRACT),
            checkpoints.restore_best(ABSTRACT),
        )
    assert latest is not None and latest.step == 5
    assert best is not None and best.step == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "5"]


def test_nothing_is_saved_without_the_runs_lock(tmp_path: Path) -> None:
    save(tmp_path / "checkpoints", {1: None})
    with (
        hold_lock(tmp_path / ".lock", lambda owner: None) as lock,
        pytest.raises(LockError, match="no longer held by this process: it was removed. It stops"),
        Checkpoints(tmp_path / "checkpoints", lock=lock) as checkpoints,
    ):
        checkpoints.save(2, state_of(2))
        checkpoints.save(3, state_of(3))  # waits for the one before
        (tmp_path / ".lock").unlink()
        checkpoints.save(4, state_of(4))
        checkpoints.save(5, state_of(5))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept in (["1", "2"], ["2", "3"])
