"""Files whole or not at all, and the sentence for what can't be written."""

import ast
import errno
import os
from pathlib import Path

import pytest
from helpers.full_disk import no_file_longer_than
from helpers.paths import ROOT

from jaxmusic.storage.atomic import (
    WriteError,
    is_temporary,
    open_to_write,
    refuse_link,
    remove_abandoned,
    write_atomic,
    writing,
)


def test_text_is_utf_8_and_bytes_are_as_given(tmp_path: Path) -> None:
    write_atomic(tmp_path / "text", "é\n")
    write_atomic(tmp_path / "bytes", b"\r\n\0")
    assert (tmp_path / "text").read_bytes() == b"\xc3\xa9\n"
    assert (tmp_path / "bytes").read_bytes() == b"\r\n\0"


def test_without_room_the_old_file_stays_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    words = r"file can't be written: File too large\. What was saved before is kept: make room and"
    with no_file_longer_than(1000), pytest.raises(WriteError, match=words):
        write_atomic(path, "new" * 1000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_on_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut may leave an empty file in the place of the old one."""
    synced: list[tuple[bool, bool]] = []  # a folder?, is the file there?
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((os.path.isdir(f"/proc/self/fd/{descriptor}"), (tmp_path / "a").exists()))
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    write_atomic(tmp_path / "a", "a")
    assert synced == [(False, False), (True, True)]


def test_file_systems_that_know_no_sync_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.fsync", refuse)
    write_atomic(tmp_path / "a", "a")
    assert (tmp_path / "a").read_text() == "a"

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(WriteError, match="Input/output error"):
        write_atomic(tmp_path / "a", "b")
    assert (tmp_path / "a").read_text() == "a"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "No space left on device. What was saved before is kept: make room"),
        (errno.EDQUOT, "Disk quota exceeded. What was saved before is kept: make room"),
        (errno.EROFS, "Read-only file system. What was saved before is kept: make its folder"),
        (errno.ENOENT, "No such file or directory. What was saved before is kept: fix its"),
        (errno.EIO, "Input/output error. What was saved before is kept: fix its folder"),
    ],
)
def test_the_sentence_names_file_reason_and_remedy(number: int, remedy: str) -> None:
    with pytest.raises(WriteError) as caught, writing("here/file"):
        raise OSError(number, os.strerror(number), "elsewhere")
    assert str(caught.value).startswith(f"here/file can't be written: {remedy}")
    assert str(caught.value).endswith("start the same command again.")


def test_what_lies_in_the_way_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="Not a directory.*move away what is in its place"):
        write_atomic(tmp_path / "file" / "a", "a")
    with pytest.raises(WriteError, match="No such file or directory.*fix its folder"):
        write_atomic(tmp_path / "gone" / "a", "a")


def test_names_of_temporary_files_differ_and_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        names.extend(path.name for path in tmp_path.iterdir() if path.name.startswith("."))
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    long = "n" * 255  # as long as a name may be
    for name in ("a", "a", long):
        write_atomic(tmp_path / name, "a")
    assert len(set(names)) == 3
    assert all(map(is_temporary, names))
    assert not any(map(is_temporary, ["a", ".a.partial", f"{names[0]}x", f"x{names[0]}"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", long]


@pytest.mark.parametrize("planted", ["link", "dangling link", "file"])
def test_nothing_in_the_place_of_the_temporary_file_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """Where its name was guessed after all."""
    monkeypatch.setattr("os.urandom", bytes)
    victim, temporary = tmp_path / "victim", tmp_path / f".jaxmusic-{'0' * 16}.partial"
    if planted == "file":
        temporary.write_text("precious")
    else:
        temporary.symlink_to(victim)
    if planted == "link":
        victim.write_text("precious")
    with pytest.raises(WriteError, match="File exists"):
        write_atomic(tmp_path / "a", "a")
    assert not (tmp_path / "a").exists()
    assert victim.exists() == (planted == "link")
    for path in tmp_path.iterdir():
        assert path.read_text() == "precious"


def test_a_link_is_replaced_and_its_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to("file")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "file").read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "a", "a")
        (tmp_path / "b").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_interrupted_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", "a")
    assert list(tmp_path.iterdir()) == []


def test_only_old_temporary_files_are_removed(tmp_path: Path) -> None:
    names = {name: f".jaxmusic-{number:016x}.partial" for number, name in enumerate(
        ("old", "young", "folder", "link"))}  # fmt: skip
    for name in (names["old"], names["young"], ".jaxmusic-abc.partial", ".corpus.partial", "file"):
        (tmp_path / name).touch()
    (tmp_path / names["folder"]).mkdir()
    (tmp_path / names["link"]).symlink_to(tmp_path / "file")
    for path in tmp_path.iterdir():
        if path.name != names["young"]:
            os.utime(path, (0, 0), follow_symlinks=os.utime not in os.supports_follow_symlinks)
    before = {path.name for path in tmp_path.iterdir()}
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == before - {names["old"]}
    remove_abandoned(tmp_path / "gone")


@pytest.mark.parametrize("mode", ["ab", "r+b", "wb"])
def test_files_written_in_place_are_no_links_pipes_or_devices(tmp_path: Path, mode: str) -> None:
    for _ in range(2):  # a new one, and one that is there
        with open(tmp_path / "file", mode, opener=open_to_write) as file:
            file.write(b"precious")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    words = {"link": "it is a link", "dangling": "it is a link", "folder": "Is a directory"}
    if os.name != "nt":
        os.mkfifo(tmp_path / "pipe")
        words |= {"pipe": "it is not a regular file|No such device or address"}
        words |= {"/dev/null": "it is not a regular file"}
    content = (tmp_path / "file").read_bytes()
    for name, reason in words.items():
        remedy = "move away what is in its place"
        with pytest.raises(WriteError, match=f"({reason}).*{remedy}"), writing(tmp_path / name):
            open(tmp_path / name, mode, opener=open_to_write)  # noqa: SIM115
    assert (tmp_path / "file").read_bytes() == content
    assert not (tmp_path / "nowhere").exists()


def test_a_linked_folder_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    refuse_link(tmp_path / "folder")
    refuse_link(tmp_path / "none")
    with pytest.raises(WriteError, match="link is a link, and links are not written"):
        refuse_link(tmp_path / "link")


# Calls that write in folders which the same process has just made, where nothing is planted, or to
# memory.
ELSEWHERE = {
    "jaxmusic/benchmarks/baselines/batches.py: np.save",
    "jaxmusic/benchmarks/harness/weights.py: np.savez",
    "scripts/dev/fuzzing/campaign.py: write_bytes", "scripts/dev/fuzzing/measuring.py: open",
    "scripts/dev/fuzzing/measuring.py: write_text",
    "jaxmusic/benchmarks/large_sets.py: write_bytes", "scripts/dev/fault_injection/trial.py: open",
    "jaxmusic/run_dir/origin.py: np.save", "jaxmusic/nn/cpu/build.py: write_bytes",
}  # fmt: skip


def test_no_file_is_opened_so_that_a_link_could_lead_elsewhere() -> None:
    """All writing goes by write_atomic, write_output, open_to_write, or is of a new file ("x")."""
    root = ROOT
    found = {
        f"{path.relative_to(root).as_posix()}: {name}"
        for folder in ("jaxmusic", "scripts")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and (name := writer_of(node))
    }
    assert found == ELSEWHERE


def writer_of(call: ast.Call) -> str:
    """What is called, where that writes to a file by its path and would follow a link there."""
    called = ast.unparse(call.func)
    name = called.split(".")[-1]
    if called in {"np.save", "np.savez"}:
        return called
    if name in {"write_text", "write_bytes", "touch", "tofile"}:
        return name
    if name != "open" or any(word.arg == "opener" for word in call.keywords):
        return ""
    modes = {node.value for node in ast.walk(call) if isinstance(node, ast.Constant)}
    return name if modes & {"w", "wb", "w+", "a", "ab", "a+", "r+", "r+b"} else ""
