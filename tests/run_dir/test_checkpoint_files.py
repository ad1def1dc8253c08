"""Files in checkpoints/ that are not ours, and what interrupted saves leave."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.checkpoints import ABSTRACT, restored_step, save, state_of, steps_in, write
from helpers.preparations import tree_of

from jaxmusic.run_dir.checkpoint import CheckpointError, Checkpoints
from jaxmusic.run_dir.checkpoint_files import checkpoint_kind
from jaxmusic.storage.atomic import WriteError
from jaxmusic.storage.checksums import write_manifest
from jaxmusic.storage.owned_folder import why_foreign


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
@pytest.mark.raises_at("jaxmusic/run_dir/checkpoint_dir.py:_refuse_foreign")
def test_foreign_content_under_a_steps_name_is_refused_and_kept(
    tmp_path: Path, add: Callable[[Path], object], why: str
) -> None:
    """Before the training begins, which would want that name."""
    save(tmp_path, {1: None, 2: None})
    add(tmp_path)
    before = tree_of(tmp_path)
    with pytest.raises(CheckpointError, match=f"{why}.*Move it away and start the same command"):
        Checkpoints(tmp_path)
    logged: list[str] = []
    assert restored_step(tmp_path, logged) == (1 if "2 " in why else 2)  # who only reads, reads on
    assert tree_of(tmp_path) == before


def test_a_foreign_file_put_into_a_checkpoint_is_kept(tmp_path: Path) -> None:
    logged: list[str] = []
    with Checkpoints(tmp_path, log=logged.append) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, state_of(step))
            checkpoints._wait()
            if step == 1:
                write(tmp_path / "1" / "mine.txt")
        assert steps_in(tmp_path) == [1, 4, 5]
        assert logged == [f"{tmp_path / '1'} is left alone: it holds mine.txt."]
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
    with pytest.raises(CheckpointError, match="not one of this run: it is another run's"):
        Checkpoints(tmp_path, run="two")
    assert tree_of(tmp_path) == before
    with Checkpoints(tmp_path, run="one") as checkpoints:
        assert checkpoints.restore_latest(ABSTRACT) is not None


def test_all_file_names_of_orbax_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what a kill leaves would stay for ever."""
    why: list[str] = []

    def check_names(folder: Path, about: dict[str, Any]) -> None:
        assert len(list(folder.rglob("*"))) > 5
        why.append(why_foreign(folder, checkpoint_kind(folder)))
        write_manifest(folder, about)

    monkeypatch.setattr("jaxmusic.run_dir.checkpoint_dir.write_manifest", check_names)
    save(tmp_path, {1: None})
    assert why == [""]


@pytest.mark.parametrize("name", ["notes.txt", "07", "7.old", ".7", "seven", "²"])
def test_other_names_are_ignored(tmp_path: Path, name: str) -> None:
    save(tmp_path, {1: None, 2: None})
    (tmp_path / name).mkdir()
    logged: list[str] = []
    assert restored_step(tmp_path, logged) == 2 and not logged


def test_what_a_kill_leaves_is_cleaned_up_by_the_next_training(tmp_path: Path) -> None:
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


def test_temporary_names_with_foreign_content_are_kept(tmp_path: Path) -> None:
    save(tmp_path, {1: None, 2: None})
    for name in (
        ".partial-3", ".partial-x", ".removed-1", ".replaced-7", ".partial-3-0123abcd",
        ".removed-1-0123abcd", ".replaced-1-0123abcd", ".replaced-7-0123abcd",
        "4.orbax-checkpoint-tmp-5",
    ):  # fmt: skip
        write(tmp_path / name / "mine.txt")
    (tmp_path / ".removed-2-0123abcd").write_text("mine")
    before = tree_of(tmp_path)
    logged: list[str] = []
    with Checkpoints(tmp_path, log=logged.append) as checkpoints:
        checkpoints.save(2, state_of(2))
    assert sorted(logged) == [
        f"{tmp_path / '.partial-3-0123abcd'} is left alone: it holds mine.txt.",
        f"{tmp_path / '.removed-1-0123abcd'} is left alone: it holds mine.txt.",
        f"{tmp_path / '.removed-2-0123abcd'} is left alone: it is a file.",
        f"{tmp_path / '.replaced-1-0123abcd'} is left alone: it holds mine.txt.",
        f"{tmp_path / '.replaced-7-0123abcd'} is left alone: it holds mine.txt.",
    ]
    after = tree_of(tmp_path)
    assert [name for name in before if after.get(name, b"") != before[name]] == [
        name for name in before if name.startswith("2/") and after.get(name, b"") != before[name]
    ]


@pytest.mark.parametrize("created_again", [False, True])
@pytest.mark.raises_at("jaxmusic/run_dir/checkpoint_dir.py:adding")
def test_a_folder_that_vanished_is_reported_and_not_created_again(
    tmp_path: Path, created_again: bool
) -> None:
    folder = tmp_path / "checkpoints"
    with (
        pytest.raises(CheckpointError, match="was removed or replaced during training"),
        Checkpoints(folder) as checkpoints,
    ):
        checkpoints.save(1, state_of(1))
        checkpoints._wait()
        folder.rename(tmp_path / "elsewhere")
        if created_again:
            folder.mkdir()
        checkpoints.save(2, state_of(2))
    assert folder.exists() == created_again
    assert steps_in(tmp_path / "elsewhere") == [1]


def test_a_file_with_the_folders_name_is_reported_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").touch()
    with pytest.raises(WriteError, match="checkpoints can't be written: .*move away what is in"):
        Checkpoints(tmp_path / "checkpoints")
