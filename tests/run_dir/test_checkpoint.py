"""Checkpoints: latest, best, damage."""

import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from helpers.full_disk import no_file_longer_than
from helpers.preparations import tree_of

from jaxmusic.run_dir import checkpoint_dir as shelf
from jaxmusic.run_dir.checkpoint import CheckpointError, Checkpoints
from jaxmusic.run_dir.checkpoint_dir import About
from jaxmusic.storage.atomic import WriteError
from jaxmusic.storage.checksums import MANIFEST, DamageError, verify_manifest, write_manifest
from jaxmusic.storage.file_lock import LockError, hold_lock
from jaxmusic.storage.owned_folder import why_foreign


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
    with Checkpoints(tmp_path, log=told.append) as checkpoints:
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


# Damage.


def restored_step(folder: Path, told: list[str], *, best: bool = False) -> int:
    with Checkpoints(folder, read_only=True, log=told.append) as checkpoints:
        restored = (
            checkpoints.restore_best(ABSTRACT) if best else checkpoints.restore_latest(ABSTRACT)
        )
    assert restored is not None
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_of(restored.step))
    return restored.step


def test_any_damage_to_any_file_is_told_and_the_older_one_used(tmp_path: Path) -> None:
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
            told: list[str] = []
            assert restored_step(tmp_path, told) == 1
            assert len(told) == 1 and "step 2 is damaged, passed over: " in told[0]
            assert path.name in told[0] and "\n" not in told[0]
            path.write_bytes(content)
    assert restored_step(tmp_path, []) == 2


@pytest.mark.parametrize(
    ("add", "why"),
    [
        (lambda folder: (folder / "2" / "state" / "mine").touch(), "2 .* it holds state/mine"),
        (lambda folder: (folder / "2" / "9").mkdir(), "2 .* it holds 9/"),
        (lambda folder: (folder / "1" / "mine").touch(), "1 .* it holds mine"),  # not the newest
        (lambda folder: (folder / "999").touch(), "999 .* it is a file"),
        (lambda folder: (folder / "999").symlink_to("nowhere"), "999 .* it is a link"),
        (lambda folder: (folder / "999").symlink_to("2"), "999 .* it is a link"),
        (lambda folder: write(folder / "999" / "a.mid"), "999 .* it holds a.mid"),
        (lambda folder: write(folder / "999" / "seal.json"), "999 .* nothing in it proves"),
        (lambda folder: write(folder / "999" / "state" / "a.mid"), "999 .* it holds state/a.mid"),
    ],
)
def test_what_is_not_ours_and_has_a_steps_name_is_told_and_let_alone(
    tmp_path: Path, add: Callable[[Path], object], why: str
) -> None:
    """Before the training begins, which would want that name."""
    save(tmp_path, {1: None, 2: None})
    add(tmp_path)
    before = tree_of(tmp_path)
    with pytest.raises(CheckpointError, match=f"{why}.*Move that away and start the same command"):
        Checkpoints(tmp_path)
    told: list[str] = []
    assert restored_step(tmp_path, told) == (1 if "2 " in why else 2)  # who only reads, reads on
    assert tree_of(tmp_path) == before


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
def test_what_is_ours_but_not_whole_is_told_and_goes(
    tmp_path: Path, add: Callable[[Path], object]
) -> None:
    save(tmp_path, {1: None, 2: None})
    add(tmp_path)
    told: list[str] = []
    with Checkpoints(tmp_path, log=told.append) as checkpoints:
        restored = checkpoints.restore_latest(ABSTRACT)
        assert restored is not None and len(told) == 1
        damaged = 999 if (tmp_path / "999").exists() else 2
        assert f"The checkpoint of step {damaged} is damaged, passed over: " in told[0]
        assert restored.step == (2 if damaged == 999 and (tmp_path / "2").exists() else 1)
        checkpoints.save(3, state_of(3))
    assert set(steps_in(tmp_path)) == {restored.step, 3}


def test_what_comes_into_a_checkpoint_while_it_trains_is_let_alone(tmp_path: Path) -> None:
    told: list[str] = []
    with Checkpoints(tmp_path, log=told.append) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, state_of(step))
            checkpoints._wait()
            if step == 1:
                write(tmp_path / "1" / "mine.txt")
        assert steps_in(tmp_path) == [1, 4, 5]
        assert told == [f"{tmp_path / '1'} is let alone: it holds mine.txt."]
        write(tmp_path / "6" / "mine.txt")  # in the way
        before = tree_of(tmp_path)
        checkpoints.save(6, state_of(6))
        with pytest.raises(CheckpointError, match=r"6 has a checkpoint's name, .* holds mine\.txt"):
            checkpoints._wait()
        assert tree_of(tmp_path) == before


def test_checkpoints_of_another_run_are_not_removed(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, run="one") as checkpoints:
        checkpoints.save(1, state_of(1))
    before = tree_of(tmp_path)
    with pytest.raises(CheckpointError, match="none of this run: it is another run's"):
        Checkpoints(tmp_path, run="two")
    assert tree_of(tmp_path) == before
    with Checkpoints(tmp_path, run="one") as checkpoints:
        assert checkpoints.restore_latest(ABSTRACT) is not None


def test_every_name_that_orbax_gives_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what a kill leaves would stay for ever."""
    why: list[str] = []

    def look(folder: Path, about: dict[str, Any]) -> None:
        assert len(list(folder.rglob("*"))) > 5
        why.append(why_foreign(folder, shelf._any_checkpoint(folder)))
        write_manifest(folder, about)

    monkeypatch.setattr("jaxmusic.run_dir.checkpoint_dir.write_manifest", look)
    save(tmp_path, {1: None})
    assert why == [""]


@pytest.mark.parametrize("name", ["notes.txt", "07", "7.old", ".7", "seven", "²"])
def test_what_has_no_steps_name_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    save(tmp_path, {1: None, 2: None})
    (tmp_path / name).mkdir()
    told: list[str] = []
    assert restored_step(tmp_path, told) == 2 and not told


def steps_in(folder: Path) -> list[int]:
    """Of all that is there; fails for what isn't a step."""
    return sorted(int(path.name) for path in folder.iterdir())


def steps_kept(folder: Path) -> list[int]:
    """But for what a failed save has left, while threads of Orbax's were still writing."""
    names = [path.name for path in folder.iterdir()]
    return sorted(int(name) for name in names if not name.startswith(".partial-"))


def test_after_falling_back_saves_go_on_and_the_damaged_ones_are_gone(tmp_path: Path) -> None:
    """All later saves, below, at and above the damaged ones; none pushes out a whole one."""
    save(tmp_path, {2: 0.5, 4: None, 5: None})
    shutil.copytree(tmp_path / "5", tmp_path / "9")  # two damaged ones, newer than all
    damage(tmp_path, 5)
    told: list[str] = []
    with Checkpoints(tmp_path, log=told.append) as checkpoints:
        restored = checkpoints.restore_latest(ABSTRACT)
        assert restored is not None and restored.step == 4
        assert len(told) == 2
        checkpoints.check()
        kept = {5: [2, 4, 5], 6: [2, 5, 6], 9: [2, 6, 9], 10: [2, 9, 10]}
        for step, steps in kept.items():
            checkpoints.save(step, state_of(step))
            checkpoints._wait()
            assert steps_in(tmp_path) == steps
    assert len(told) == 2
    assert restored_step(tmp_path, told) == 10 and restored_step(tmp_path, told, best=True) == 2
    assert len(told) == 2


def test_a_damaged_best_leaves_the_next_best(tmp_path: Path) -> None:
    save(tmp_path, {1: 0.5, 2: 0.75, 3: None})
    damage(tmp_path, 1)
    told: list[str] = []
    assert restored_step(tmp_path, told, best=True) == 2
    damage(tmp_path, 2)
    assert restored_step(tmp_path, told, best=True) == 3
    assert ["step 1" in line for line in told] == [True, False, True]


@pytest.mark.parametrize("worthless", [float("nan"), float("inf"), -float("inf"), None])
def test_what_is_no_number_is_never_the_best(tmp_path: Path, worthless: float | None) -> None:
    save(tmp_path, {1: worthless, 2: 7.0, 3: worthless, 4: 8.0, 5: worthless, 6: worthless})
    assert steps_in(tmp_path) == [2, 5, 6]
    assert restored_step(tmp_path, [], best=True) == 2


def seal_anew(folder: Path, **about: Any) -> None:
    """Seal a checkpoint that tells other things of itself, as another version might, or a liar."""
    seal = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).unlink()
    write_manifest(folder, {**seal["about"], **about})


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
def test_a_manifest_that_lies_is_passed_over(
    tmp_path: Path, about: dict[str, Any], reason: str
) -> None:
    save(tmp_path, {1: 0.5, 2: 0.25})
    seal_anew(tmp_path / "2", **about)
    told: list[str] = []
    assert restored_step(tmp_path, told) == 1 and restored_step(tmp_path, told, best=True) == 1
    assert len(told) == 2 and all(line.endswith(reason) for line in told)


def test_a_manifest_may_say_more_but_not_less(tmp_path: Path) -> None:
    """A later version may have more to say of a checkpoint."""
    save(tmp_path, {1: 0.5, 2: 0.25})
    seal_anew(tmp_path / "2", devices=["a"], name="caf\udce9")
    assert restored_step(tmp_path, []) == 2
    seal = json.loads((tmp_path / "2" / MANIFEST).read_text())
    (tmp_path / "2" / MANIFEST).unlink()
    del seal["about"]["score"]
    write_manifest(tmp_path / "2", seal["about"])
    told: list[str] = []
    assert restored_step(tmp_path, told) == 1
    assert "it lacks the field 'score'" in told[0]


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
    told: list[str] = []
    assert restored_step(tmp_path, told) == 1
    assert len(told) == 1 and path.name in told[0]


# Stops, failures, readers.


def test_what_a_kill_leaves_is_mended_by_the_next_training(tmp_path: Path) -> None:
    save(tmp_path, {1: None, 2: None})
    shutil.copytree(tmp_path / "2", tmp_path / ".partial-3-0123abcd")
    (tmp_path / ".partial-3-0123abcd" / "seal.json").rename(
        tmp_path / ".partial-3-0123abcd" / f".jaxmusic-{'0' * 16}.partial"
    )
    partial = tmp_path / ".partial-3-4567abcd" / "state.orbax-checkpoint-tmp"
    write(partial / "d" / ("0" * 32))
    write(partial / "ocdbt.process_0" / "manifest.ocdbt.__lock")
    shutil.copytree(tmp_path / "2", tmp_path / ".removed-1-0123abcd")
    # Killed before the new one had its name.
    (tmp_path / "2").rename(tmp_path / ".replaced-2-0123abcd")
    shutil.copytree(tmp_path / "1", tmp_path / ".replaced-1-0123abcd")
    before = {path.name for path in tmp_path.iterdir()}
    assert restored_step(tmp_path, []) == 1
    assert {path.name for path in tmp_path.iterdir()} == before  # a reader changes nothing
    with Checkpoints(tmp_path):
        pass
    assert steps_in(tmp_path) == [1, 2]
    assert restored_step(tmp_path, []) == 2


def test_what_looks_like_it_but_holds_other_things_is_let_alone(tmp_path: Path) -> None:
    save(tmp_path, {1: None, 2: None})
    for name in (
        ".partial-3", ".partial-x", ".removed-1", ".replaced-7", ".partial-3-0123abcd",
        ".removed-1-0123abcd", ".replaced-1-0123abcd", ".replaced-7-0123abcd",
        "4.orbax-checkpoint-tmp-5",
    ):  # fmt: skip
        write(tmp_path / name / "mine.txt")
    (tmp_path / ".removed-2-0123abcd").write_text("mine")
    before = tree_of(tmp_path)
    told: list[str] = []
    with Checkpoints(tmp_path, log=told.append) as checkpoints:
        checkpoints.save(2, state_of(2))
    assert sorted(told) == [
        f"{tmp_path / '.partial-3-0123abcd'} is let alone: it holds mine.txt.",
        f"{tmp_path / '.removed-1-0123abcd'} is let alone: it holds mine.txt.",
        f"{tmp_path / '.removed-2-0123abcd'} is let alone: it is a file.",
        f"{tmp_path / '.replaced-1-0123abcd'} is let alone: it holds mine.txt.",
        f"{tmp_path / '.replaced-7-0123abcd'} is let alone: it holds mine.txt.",
    ]
    after = tree_of(tmp_path)
    assert [name for name in before if after.get(name, b"") != before[name]] == [
        name for name in before if name.startswith("2/") and after.get(name, b"") != before[name]
    ]


def test_a_reader_looks_again_when_what_was_listed_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, {1: None, 2: None})
    listed = iter([[3, 2], [2, 1]])
    monkeypatch.setattr("jaxmusic.run_dir.checkpoint_dir.Shelf.steps", lambda shelf: next(listed))
    told: list[str] = []
    assert restored_step(tmp_path, told) == 2 and not told and not list(listed)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_reader_looks_again_when_the_training_moves_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """What it reads is removed, or replaced by one of the same step; that is no damage."""
    save(tmp_path, {1: None, 2: None})
    with Checkpoints(tmp_path) as training:
        training.restore_latest(ABSTRACT)
        moving = iter([True])

        def read_while_it_saves(folder: Path, kind: type[About]) -> About:
            if next(moving, False):
                for step in (2,) if replaced else (3, 4):
                    training.save(step, state_of(step), score=0.5)
                training._wait()
                if replaced:
                    raise DamageError("half old, half new")
            return verify_manifest(folder, kind)

        monkeypatch.setattr("jaxmusic.run_dir.checkpoint_dir.verify_manifest", read_while_it_saves)
        told: list[str] = []
        assert restored_step(tmp_path, told) == (2 if replaced else 4)
        assert not told


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # TensorStore's
def test_a_failed_save_is_told_soon_and_leaves_all_as_it_was(tmp_path: Path) -> None:
    save(tmp_path, {1: 0.5, 2: None})
    with Checkpoints(tmp_path) as checkpoints:
        with no_file_longer_than(3000):
            checkpoints.save(3, state_of(3))
            wait([checkpoints._under_way])  # type: ignore[list-item]
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
    told: list[str] = []
    with (
        no_file_longer_than(3000),
        pytest.raises(ZeroDivisionError),
        Checkpoints(tmp_path, log=told.append) as checkpoints,
    ):
        checkpoints.save(6, state_of(6))
        raise ZeroDivisionError  # the first error is the one that ends the training
    assert len(told) == 1 and "File too large" in told[0]


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_folder_that_vanished_is_told_and_not_made_anew(tmp_path: Path, made_anew: bool) -> None:
    folder = tmp_path / "checkpoints"
    with (
        pytest.raises(CheckpointError, match="was removed or replaced while the training went on"),
        Checkpoints(folder) as checkpoints,
    ):
        checkpoints.save(1, state_of(1))
        checkpoints._wait()
        folder.rename(tmp_path / "elsewhere")
        if made_anew:
            folder.mkdir()
        checkpoints.save(2, state_of(2))
    assert folder.exists() == made_anew
    assert steps_in(tmp_path / "elsewhere") == [1]


def test_a_file_in_the_folders_place_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").touch()
    with pytest.raises(WriteError, match="checkpoints can't be written: .*move away what is in"):
        Checkpoints(tmp_path / "checkpoints")


def test_what_may_not_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be whole: falling back would cost the training since the older one."""
    save(tmp_path, {1: None, 2: None})

    def refuse(folder: Path, kind: type[About]) -> About:
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
def test_what_the_system_lacks_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    save(tmp_path, {1: None, 2: None})

    def lack(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as here:
        here.setattr(ocp.Checkpointer, "restore", lack)
        with pytest.raises(CheckpointError, match=f"2 can't be read: {reason}. Mend that"):
            restored_step(tmp_path, [])
    monkeypatch.setattr("jaxmusic.storage.checksums.file_digest", lack)
    if isinstance(error, OSError):
        with pytest.raises(CheckpointError, match=f"2 can't be read: {reason}. Mend that"):
            restored_step(tmp_path, [])


def test_a_training_stops_where_another_one_saved(tmp_path: Path) -> None:
    """Two at work on one run, whose lock failed: each checkpoint is whole, and none is lost."""
    save(tmp_path, {1: None, 2: None})
    with (
        pytest.raises(CheckpointError, match=r"Another training has saved step 5 in .* this one s"),
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
