"""The rule of which folders are ours, and removing them by known names."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxmusic.storage.owned_folder import FolderKind, real_folder, remove_known, why_foreign

KNOWN = {"a.json", "b.npy", "inner/", "inner/c.txt"}
KIND = FolderKind(
    "a thing", KNOWN.__contains__, {"a.json": lambda path: b"us" in path.read_bytes()}
)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.json").write_bytes(b"of us")
    (folder / "b.npy").write_bytes(b"2")
    (folder / "inner" / "c.txt").write_bytes(b"3")
    return folder


def test_a_folder_is_ours_by_all_of_its_names_and_a_proof(ours: Path) -> None:
    assert why_foreign(ours, KIND) == ""
    (ours / "b.npy").unlink()
    assert why_foreign(ours, KIND) == ""
    (ours / "a.json").write_bytes(b"of them")
    assert why_foreign(ours, KIND) == (
        "it holds a.json, inner/c.txt, inner/, but nothing in it proves that it is a thing"
    )


def test_what_is_not_there_or_empty_is_ours(tmp_path: Path) -> None:
    assert why_foreign(tmp_path / "new", KIND) == ""
    assert why_foreign(tmp_path / "new" / "new", KIND) == ""
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    (tmp_path / "empty" / "b.npy").touch()  # made, and stopped before anything was written
    assert why_foreign(tmp_path / "empty", KIND) == ""


@pytest.mark.parametrize("name", ["thesis.txt", ".hidden", "inner/notes", "A.json", "inner2"])
def test_one_name_that_we_dont_know_is_enough(ours: Path, name: str) -> None:
    (ours / name).touch()
    assert why_foreign(ours, KIND) == f"it holds {name}"


@pytest.mark.parametrize("name", ["a.json", "b.npy"])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("../elsewhere"),
        lambda path: path.symlink_to("nowhere"),
        os.mkfifo,
        lambda path: path.mkdir(),
    ],
)
def test_links_pipes_and_folders_of_our_names_are_not_ours(
    ours: Path, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    """Nothing of them is opened: a pipe would never end."""
    (tmp_path / "elsewhere").write_bytes(b"of us")
    (ours / name).unlink()
    make(ours / name)
    assert why_foreign(ours, KIND).startswith(f"it holds {name}")
    remove_known(ours, KIND)
    assert os.listdir(ours) == [name]


def test_a_link_to_a_folder_is_followed_only_when_asked(ours: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ours)
    assert why_foreign(tmp_path / "link", KIND) == "it is a link"
    remove_known(tmp_path / "link", KIND)
    assert why_foreign(real_folder(tmp_path / "link"), KIND) == ""
    assert why_foreign(ours / "a.json", KIND) == "it is a file"
    assert len(list(ours.rglob("*"))) == 4


def test_the_name_of_a_folder_that_has_none(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ours)
    assert real_folder(".") == ours and real_folder("inner/..") == ours
    assert real_folder("inner") == Path("inner")  # as it was given


def test_many_names_are_told_in_a_few_words(tmp_path: Path) -> None:
    for number in range(1_234):
        (tmp_path / f"{number:04}").touch()
    (tmp_path / "0000\n").mkdir()
    assert why_foreign(tmp_path, KIND) == r"it holds 0000, 0000\n/, 0001 and 1,232 more"


def test_removing_leaves_what_is_not_ours(ours: Path) -> None:
    (ours / "inner" / "mine.txt").write_text("precious")
    (ours / "other").mkdir()
    remove_known(ours, KIND)
    assert sorted(path.relative_to(ours).as_posix() for path in ours.rglob("*")) == [
        "inner", "inner/mine.txt", "other",
    ]  # fmt: skip
    (ours / "inner" / "mine.txt").unlink()
    (ours / "other").rmdir()
    remove_known(ours, KIND)
    assert not ours.exists()
    remove_known(ours, KIND)


def test_a_removal_that_is_cut_off_can_be_finished(
    ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof is the last file to go."""
    removed: list[str] = []
    unlink = Path.unlink

    def stop_at_the_second(path: Path, missing_ok: bool = False) -> None:
        removed.append(path.name)
        if len(removed) == 2:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        remove_known(ours, KIND)
    assert why_foreign(ours, KIND) == ""
    remove_known(ours, KIND)
    assert removed == ["b.npy", "c.txt", "c.txt", "a.json"] and not ours.exists()


def test_a_folder_that_cant_be_read_is_refused(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert why_foreign(ours, KIND) == "it can't be read: Permission denied"


def test_temporary_files_of_ours_prove_nothing_and_are_no_obstacle(ours: Path) -> None:
    for name in (f".jaxmusic-{'0' * 16}.partial", f"inner/.jaxmusic-{'1' * 16}.partial"):
        (ours / name).write_bytes(b"half")
    assert why_foreign(ours, KIND) == ""
    for name in ("a.json", "b.npy", "inner/c.txt"):
        (ours / name).unlink()
    assert why_foreign(ours, KIND) == ""
    (ours / ".thesis.txt.partial").touch()
    assert why_foreign(ours, KIND) == "it holds .thesis.txt.partial"
    (ours / ".thesis.txt.partial").unlink()
    remove_known(ours, KIND)
    assert not ours.exists()
