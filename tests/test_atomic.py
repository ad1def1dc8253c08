"""Files whole or not at all, and the sentence for what can't be written."""

import errno
import os
from pathlib import Path

import pytest
from full_disk import no_file_longer_than

from jaxmusic.atomic import WriteError, write_atomic, writing


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
        (errno.ENOENT, "No such file or directory. What was saved before is kept: mend its"),
        (errno.EIO, "Input/output error. What was saved before is kept: mend its folder"),
    ],
)
def test_the_sentence_names_file_reason_and_remedy(number: int, remedy: str) -> None:
    with pytest.raises(WriteError) as caught, writing("here/file"):
        raise OSError(number, os.strerror(number), "elsewhere")
    assert str(caught.value).startswith(f"here/file can't be written: {remedy}")
    assert str(caught.value).endswith("start the same command again.")


def test_what_lies_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="Not a directory.*move away what is in its place"):
        write_atomic(tmp_path / "file" / "a", "a")
    with pytest.raises(WriteError, match="No such file or directory.*mend its folder"):
        write_atomic(tmp_path / "gone" / "a", "a")
