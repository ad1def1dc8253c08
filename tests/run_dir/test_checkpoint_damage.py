"""Damaged checkpoints: detected, logged, skipped, removed."""

import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
import pytest
from helpers.checkpoints import (
    ABSTRACT,
    flip_bit,
    restored_step,
    rewrite_manifest,
    save,
    state_of,
    steps_in,
)

from jaxmusic.run_dir.checkpoint import CheckpointError, Checkpoints
from jaxmusic.run_dir.checkpoint_dir import CheckpointInfo
from jaxmusic.storage.checksums import MANIFEST, write_manifest


def test_a_flipped_bit_is_detected_and_the_older_one_used(tmp_path: Path) -> None:
    save(tmp_path, {1: None, 2: None})
    flip_bit(tmp_path, 2)
    logged: list[str] = []
    with Checkpoints(tmp_path, log=logged.append) as checkpoints:
        restored = checkpoints.restore_latest(ABSTRACT)
        assert restored is not None and restored.step == 1
        assert len(logged) == 1 and "step 2 is damaged" in logged[0]
        # Training goes on from 1, and saves 2 again in its place.
        checkpoints.save(2, state_of(2))
    with Checkpoints(tmp_path) as checkpoints:
        again = checkpoints.restore_latest(ABSTRACT)
    assert again is not None and again.step == 2


def test_when_all_are_damaged_none_is_removed(tmp_path: Path) -> None:
    save(tmp_path, {1: None, 2: None})
    flip_bit(tmp_path, 1)
    flip_bit(tmp_path, 2)
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match=r"steps 2, 1\) are damaged"),
    ):
        checkpoints.restore_latest(ABSTRACT)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


def test_any_damage_to_any_file_is_logged_and_the_older_one_used(tmp_path: Path) -> None:
    save(tmp_path, {1: None, 2: 0.5})
    files = [path for path in (tmp_path / "2").rglob("*") if path.is_file()]
    assert len(files) > 5
    for number, path in enumerate(files):
        content = path.read_bytes()
        other = files[number - 1].read_bytes()
        flipped = []
        for place in {0, len(content) // 2, len(content) - 1}:
            flipped.append(bytearray(content))
            flipped[-1][place] ^= 4
        damages: list[bytes | None] = [*map(bytes, flipped), content[:-1], b"", None]
        for damage in [*damages, content + b"\n", other if other != content else b"other"]:
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            logged: list[str] = []
            assert restored_step(tmp_path, logged) == 1
            assert len(logged) == 1 and "step 2 is damaged, skipped: " in logged[0]
            assert path.name in logged[0] and "\n" not in logged[0]
            path.write_bytes(content)
    assert restored_step(tmp_path, []) == 2


@pytest.mark.parametrize(
    "add",
    [
        lambda folder: (folder / "999").mkdir(),
        lambda folder: shutil.copytree(folder / "2", folder / "999"),
        lambda folder: (folder / "2").rename(folder / "999"),
        lambda folder: (folder / "2" / "seal.json").write_bytes(b"damaged"),
        lambda folder: (folder / "2" / "seal.json").unlink(),
        lambda folder: (folder / "2" / "state" / "_METADATA").unlink(),
    ],
)
def test_a_damaged_checkpoint_is_logged_and_removed_after_the_next_save(
    tmp_path: Path, add: Callable[[Path], object]
) -> None:
    save(tmp_path, {1: None, 2: None})
    add(tmp_path)
    logged: list[str] = []
    with Checkpoints(tmp_path, log=logged.append) as checkpoints:
        restored = checkpoints.restore_latest(ABSTRACT)
        assert restored is not None and len(logged) == 1
        damaged = 999 if (tmp_path / "999").exists() else 2
        assert f"The checkpoint of step {damaged} is damaged, skipped: " in logged[0]
        assert restored.step == (2 if damaged == 999 and (tmp_path / "2").exists() else 1)
        checkpoints.save(3, state_of(3))
    assert set(steps_in(tmp_path)) == {restored.step, 3}


def test_saves_after_a_fallback_remove_the_damaged_ones_only(tmp_path: Path) -> None:
    """All later saves, below, at and above the damaged ones; none pushes out a whole one."""
    save(tmp_path, {2: 0.5, 4: None, 5: None})
    shutil.copytree(tmp_path / "5", tmp_path / "9")  # two damaged ones, newer than all
    flip_bit(tmp_path, 5)
    logged: list[str] = []
    with Checkpoints(tmp_path, log=logged.append) as checkpoints:
        restored = checkpoints.restore_latest(ABSTRACT)
        assert restored is not None and restored.step == 4
        assert len(logged) == 2
        checkpoints.check()
        kept = {5: [2, 4, 5], 6: [2, 5, 6], 9: [2, 6, 9], 10: [2, 9, 10]}
        for step, steps in kept.items():
            checkpoints.save(step, state_of(step))
            checkpoints._wait()
            assert steps_in(tmp_path) == steps
    assert len(logged) == 2
    assert restored_step(tmp_path, logged) == 10 and restored_step(tmp_path, logged, best=True) == 2
    assert len(logged) == 2


def test_a_damaged_best_leaves_the_next_best(tmp_path: Path) -> None:
    save(tmp_path, {1: 0.5, 2: 0.75, 3: None})
    flip_bit(tmp_path, 1)
    logged: list[str] = []
    assert restored_step(tmp_path, logged, best=True) == 2
    flip_bit(tmp_path, 2)
    assert restored_step(tmp_path, logged, best=True) == 3
    assert ["step 1" in line for line in logged] == [True, False, True]


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"score": "0.5"}, "the field 'score': expected `float | null`, got `str`"),
        ({"score": 10**400}, "the field 'score': number out of range"),
        ({"score": -math.inf}, "seal.json is not what was written"),  # -Infinity is no JSON
        ({"score": math.nan}, "seal.json is not what was written"),
        ({"score": True}, "the field 'score': expected `float | null`, got `bool`"),
        ({"crc32": -1}, "the field 'crc32': expected `int` >= 0"),
        ({"step": 2.0}, "the field 'step': expected `int`, got `float`"),
        ({"run": 5}, "the field 'run': expected `str | null`, got `int`"),
    ],
)
def test_a_manifest_with_invalid_fields_is_damage(
    tmp_path: Path, about: dict[str, Any], reason: str
) -> None:
    save(tmp_path, {1: 0.5, 2: 0.25})
    rewrite_manifest(tmp_path / "2", **about)
    logged: list[str] = []
    assert restored_step(tmp_path, logged) == 1 and restored_step(tmp_path, logged, best=True) == 1
    assert len(logged) == 2 and all(line.endswith(reason) for line in logged)


def test_a_manifest_may_have_more_fields_but_not_fewer(tmp_path: Path) -> None:
    """A later version may have more to say of a checkpoint."""
    save(tmp_path, {1: 0.5, 2: 0.25})
    rewrite_manifest(tmp_path / "2", devices=["a"], name="caf\udce9")
    assert restored_step(tmp_path, []) == 2
    seal = json.loads((tmp_path / "2" / MANIFEST).read_text())
    (tmp_path / "2" / MANIFEST).unlink()
    del seal["about"]["score"]
    write_manifest(tmp_path / "2", seal["about"])
    logged: list[str] = []
    assert restored_step(tmp_path, logged) == 1
    assert "it lacks the field 'score'" in logged[0]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices lie in folders on Unix")
@pytest.mark.parametrize("name", [MANIFEST, "state/manifest.ocdbt"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_in_a_checkpoint_are_not_read(
    tmp_path: Path, name: str, kind: str
) -> None:
    save(tmp_path, {1: None, 2: None})
    path = tmp_path / "2" / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    logged: list[str] = []
    assert restored_step(tmp_path, logged) == 1
    assert len(logged) == 1 and path.name in logged[0]


def test_a_checkpoint_without_read_permission_is_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be whole: falling back would cost the training since the older one."""
    save(tmp_path, {1: None, 2: None})

    def refuse(folder: Path, kind: type[CheckpointInfo]) -> CheckpointInfo:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "a"))

    monkeypatch.setattr("jaxmusic.run_dir.checkpoint_dir.verify_manifest", refuse)
    with pytest.raises(CheckpointError, match="2/a can't be read: Permission denied"):
        restored_step(tmp_path, [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EMFILE, "Too many open files"), ".*Too many open files"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
    ],
)
@pytest.mark.raises_at("jaxmusic/run_dir/checkpoint_dir.py:report_damage")
def test_a_shortage_of_the_system_is_not_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    save(tmp_path, {1: None, 2: None})

    def lack(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as here:
        here.setattr(ocp.Checkpointer, "restore", lack)
        with pytest.raises(CheckpointError, match=f"2 can't be read: {reason}. Fix that"):
            restored_step(tmp_path, [])
    monkeypatch.setattr("jaxmusic.storage.checksums.file_digest", lack)
    if isinstance(error, OSError):
        with pytest.raises(CheckpointError, match=f"2 can't be read: {reason}. Fix that"):
            restored_step(tmp_path, [])
