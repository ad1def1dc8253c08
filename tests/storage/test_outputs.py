"""Files that the user names: written whole, or through what is there, which is never replaced."""

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jaxmusic.storage.atomic import WriteError
from jaxmusic.storage.outputs import OutputError, check_output, is_special, write_output

WINDOWS = sys.platform == "win32"


def test_a_new_file_and_one_in_the_place_of_another(tmp_path: Path) -> None:
    for content in ("é\n", b"\r\n\0"):
        check_output("--out", tmp_path / "file")
        write_output(tmp_path / "file", content)
        expected = content if isinstance(content, bytes) else content.encode()
        assert (tmp_path / "file").read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(WINDOWS, reason="it has no pipes in folders")
def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    check_output("--out", pipe)
    assert is_special(pipe)
    write_output(pipe, b"music" * 100_000)
    reader.join(60)
    assert read == [b"music" * 100_000]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def make_device(path: Path, kind: int, major: int, minor: int, like: str) -> None:
    """A device of our own as root, who could replace the system's; else a link to that."""
    if os.geteuid():
        path.symlink_to(like)
        return
    try:
        os.mknod(path, kind | 0o666, os.makedev(major, minor))
        path.open("wb").close()
    except OSError:
        pytest.skip("devices can't be made or used here")


@pytest.mark.skipif(sys.platform != "linux", reason="devices of Linux")
def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    make_device(tmp_path / "null", stat.S_IFCHR, 1, 3, "/dev/null")
    make_device(tmp_path / "full", stat.S_IFCHR, 1, 7, "/dev/full")
    before = {path: path.lstat() for path in tmp_path.iterdir()}
    check_output("--out", tmp_path / "null")
    write_output(tmp_path / "null", b"music")
    with pytest.raises(WriteError, match="full can't be written: No space left on device"):
        write_output(tmp_path / "full", b"music")
    assert {path.name for path in tmp_path.iterdir()} == {"null", "full"}
    for path, status in before.items():
        assert os.path.samestat(path.lstat(), status)
        assert stat.S_ISCHR(path.stat().st_mode)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root makes devices")
def test_a_disk_is_refused(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 250))
    except OSError:
        pytest.skip("devices can't be made here")
    with pytest.raises(WriteError, match="disk is a disk: give a file"):
        write_output(tmp_path / "disk", b"music")
    assert stat.S_ISBLK((tmp_path / "disk").lstat().st_mode)


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    file = tmp_path / "far" / "file"
    file.write_bytes(b"old")
    (tmp_path / "near").symlink_to(Path("far") / "file")
    (tmp_path / "link").symlink_to("near")
    check_output("--out", tmp_path / "link")
    assert not is_special(tmp_path / "link")
    with file.open("rb") as opened:
        write_output(tmp_path / "link", b"new")
        assert opened.read() == b"old"  # not written in place: a stop leaves the old or the new
    assert file.read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "near").is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "file", "link", "near"]


def test_what_cannot_be_written_to_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    words = {"folder": "folder is a folder: give a file", "dangling": "a link to nowhere, which do",
             "circle": "circle is a link to circle, which does not exist"}  # fmt: skip
    if not WINDOWS:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(tmp_path / "socket"))  # (long paths aren't allowed)
        words["socket"] = "socket is a socket: give a file"
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    for name, reason in words.items():
        with pytest.raises(OutputError, match=f"^--json .*{reason}"):
            check_output("--json", tmp_path / name)
        with pytest.raises(WriteError, match=reason):
            write_output(tmp_path / name, "content")
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before
    check_output("--json", tmp_path / "none" / "x")  # a missing folder is reported when it is made
    with pytest.raises(WriteError, match="No such file or directory"):
        write_output(tmp_path / "none" / "x", "content")


WRITER = """
import sys
from jaxmusic.storage.outputs import write_output
print("before")
write_output(sys.argv[1], b"music" * 20_000)
print("after")
"""


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="a device of Unix")
@pytest.mark.parametrize("kind", ["file", "pipe", "socket"])
def test_standard_output_takes_it_in_its_turn(tmp_path: Path, kind: str) -> None:
    """A file that is standard output is neither replaced nor written to from its start."""
    command = [sys.executable, "-c", WRITER, "/dev/stdout"]
    expected = b"before\n" + b"music" * 20_000 + b"after\n"
    if kind == "pipe":
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout
    elif kind == "file":
        with (tmp_path / "said").open("wb") as file:
            subprocess.run(command, stdout=file, check=True, timeout=60)
        said = (tmp_path / "said").read_bytes()
    else:
        ours, theirs = socket.socketpair()
        with ours, subprocess.Popen(command, stdout=theirs.fileno()) as process:
            theirs.close()
            with ours.makefile("rb") as received:
                said = received.read()
        assert process.returncode == 0
    assert said == expected
