"""The folders that MIDI files are found in, whatever else is in them."""

import os
import shutil
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.midi_files import write_song
from helpers.paths import SCRIPTS

from jaxmusic.corpus.corpus import CorpusError
from jaxmusic.corpus.summary import describe, summarize
from jaxmusic.preparation.prepare import prepare
from jaxmusic.preparation.scan import LINKED, find_files

NO_FILE = "it is not a regular file"
SCANDIR = os.scandir


def skipped(folder: Path, out: Path) -> list[tuple[str, str]]:
    corpus = prepare(folder, out, workers=1, max_skipped_share=1)
    return [(row.path, row.reason) for row in corpus.ledger if row.status == "skipped"]


def test_files_come_in_one_order_everywhere(tmp_path: Path) -> None:
    for name in ("b.mid", "A.mid", "a.mid", "_.mid", "sub/Z.mid", "C.mid"):
        write_song(tmp_path / name, 3)
    # By upper case ('_' comes after 'Z'), then as they are.
    assert find_files(tmp_path).paths == [
        "A.mid", "a.mid", "b.mid", "C.mid", "sub/Z.mid", "_.mid",
    ]  # fmt: skip


def test_the_files_that_macos_puts_beside_songs_are_left_out(tmp_path: Path) -> None:
    """They are counted in one line, and are no skipped files."""
    folder = tmp_path / "in"
    for name in ("a.mid", "sub/b.MID", "._folder.mid/c.mid"):
        write_song(folder / name, 30)
    for name in ("._a.mid", "sub/._b.MID", "._gone.kar", "._a.txt", "__MACOSX/._a.mid"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(bytes.fromhex("00051607 00020000") + b"Mac OS X" + bytes(66))
    lines: list[str] = []
    corpus = prepare(folder, tmp_path / "out", workers=1, max_skipped_share=0, log=lines.append)
    assert corpus.songs == [row.path for row in corpus.ledger]
    assert sorted(corpus.songs) == ["._folder.mid/c.mid", "a.mid", "sub/b.MID"]
    assert lines == ["Files named ._* hold no music (macOS makes them): 4 left out."]
    shutil.rmtree(folder / "._folder.mid")
    for name in ("a.mid", "sub/b.MID"):
        (folder / name).unlink()
    with pytest.raises(
        CorpusError, match=r"No MIDI files .*\(Files named \._\* .*: 4 left out\.\)"
    ):
        prepare(folder, tmp_path / "out2")


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    write_song(tmp_path / "elsewhere" / "b.mid", 30)
    (tmp_path / "in" / "link.mid").symlink_to(tmp_path / "elsewhere" / "b.mid")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "elsewhere")
    assert skipped(tmp_path / "in", tmp_path / "out") == [
        ("folder/", LINKED),
        ("link.mid", "it is a link out of the folder"),
    ]


def test_nothing_that_is_no_file_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_song(folder / "a.mid", 30)
    write_song(folder / "is a folder.mid" / "b.mid", 30)
    os.mkfifo(folder / "pipe.mid")  # to open it would be to wait for ever
    (folder / "gone.mid").symlink_to("nowhere.mid")
    (folder / "again.mid").symlink_to("a.mid")  # in the folder: as good as a file
    (folder / "round.mid").symlink_to("round.mid")
    (folder / "circle").symlink_to(folder)
    (folder / "device.mid").symlink_to("/dev/zero")
    (folder / "nothing.mid").touch()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(folder / "socket.mid"))
    assert skipped(folder, tmp_path / "out") == [
        ("circle/", LINKED),
        ("device.mid", "it is a link out of the folder"),
        ("gone.mid", "it can't be opened: No such file or directory"),
        ("nothing.mid", "it is not a MIDI file (no MThd at the start)"),
        ("pipe.mid", NO_FILE),
        ("round.mid", "it can't be opened: Too many levels of symbolic links"),
        ("socket.mid", NO_FILE),
    ]
    listener.close()
    stamp = (tmp_path / "out" / "tokens.npy").stat().st_mtime_ns
    again = prepare(folder, tmp_path / "out", workers=1, max_skipped_share=1)
    assert again.songs == ["a.mid", "again.mid", "is a folder.mid/b.mid"]
    assert (again.path / "tokens.npy").stat().st_mtime_ns == stamp  # tried again, and no news


class Closed:
    """`os.scandir` for a user who may not read some folders."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __call__(self, path: str | int) -> Any:
        if isinstance(path, str) and os.path.basename(path.rstrip("/")) in self.names:
            raise PermissionError(13, "Permission denied", path)
        return SCANDIR(path)


class Unknown:
    """`os.scandir` of a disk that gives no kinds with the names, and no status of some files."""

    def __init__(self, path: str) -> None:
        self._entries = SCANDIR(path)

    def __enter__(self) -> Iterator[Any]:
        return iter([self._entry(each) for each in self._entries])

    def __exit__(self, *error: object) -> None:
        self._entries.close()

    @staticmethod
    def _entry(entry: os.DirEntry[str]) -> Any:
        if "odd" not in entry.name:
            return entry

        def refuse(*, follow_symlinks: bool = True) -> bool:
            raise OSError(5, "Input/output error", entry.path)

        return types.SimpleNamespace(name=entry.name, path=entry.path, is_dir=refuse)


def test_a_file_without_a_status_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.mid", "odd.mid", "odd", "z.mid"):
        write_song(tmp_path / "in" / name, 30)
    monkeypatch.setattr(os, "scandir", Unknown)
    assert skipped(tmp_path / "in", tmp_path / "out") == [
        ("odd", "it can't be opened: Input/output error"),
        ("odd.mid", "it can't be opened: Input/output error"),
    ]
    assert prepare(tmp_path / "in", tmp_path / "out", workers=1).songs == ["a.mid", "z.mid"]


def test_a_folder_that_cannot_be_read_is_reported_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    for name in ("a.mid", "closed/b.mid", "d/c.mid"):
        write_song(folder / name, 30)
    monkeypatch.setattr(os, "scandir", Closed("closed"))
    assert skipped(folder, tmp_path / "out") == [
        ("closed/", "the folder can't be read: Permission denied")
    ]
    monkeypatch.setattr(os, "scandir", Closed())  # fixed: its files are found
    assert skipped(folder, tmp_path / "out") == []
    assert prepare(folder, tmp_path / "out").songs == ["a.mid", "closed/b.mid", "d/c.mid"]
    monkeypatch.setattr(os, "scandir", Closed("in"))
    with pytest.raises(CorpusError, match="The folder .*in can't be read: Permission denied"):
        prepare(folder, tmp_path / "out")
    monkeypatch.setattr(os, "scandir", Closed("only"))
    (tmp_path / "none" / "only").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"No MIDI files .*\(only/: the folder can't be read"):
        prepare(tmp_path / "none", tmp_path / "out2")


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Folders 2,500 deep, songs 1,500 and 2,500 deep: the latter's path is too long for open()."""
    (tmp_path / "in").mkdir()
    write_song(tmp_path / "song.mid", 30)
    here = os.open(tmp_path / "in", os.O_RDONLY)
    for depth in range(1, 2501):
        os.mkdir("d", dir_fd=here)
        inside = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inside
        if depth in (1500, 2500):
            os.link(tmp_path / "song.mid", "a.mid", dst_dir_fd=here)
    os.close(here)
    yield tmp_path / "in"
    subprocess.run(["rm", "-rf", tmp_path / "in"], check=True)  # shutil would recurse


def test_deep_folders_are_entered_as_far_as_paths_reach(deep: Path, tmp_path: Path) -> None:
    corpus = prepare(deep, tmp_path / "out", workers=1)
    assert corpus.songs == ["d/" * 1500 + "a.mid"]
    (row,) = (row for row in corpus.ledger if row.status == "skipped")
    assert row.reason == "the folder can't be read: File name too long"
    assert set(row.path.split("/")) == {"d", ""} and 3800 < len(row.path) < 4200


ODD = (b"caf\xe9.mid", b"two\nlines.mid", b"\x1b[31mred.mid", "Für Elise 月.mid".encode())


def make_odd(folder: Path) -> None:
    for number, name in enumerate(ODD):
        write_song(folder / f"{number}.mid", 30, seed=number)
        os.rename(os.fsencode(folder / f"{number}.mid"), os.fsencode(folder) + b"/" + name)
    with open(os.fsencode(folder) + b"/b\xe4d\n.mid", "wb") as bad:
        bad.write(b"bad")


def test_odd_names_are_kept_and_told_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_odd(tmp_path / "in")
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert {os.fsencode(name) for name in corpus.songs} == set(ODD)
    for line in (*summarize(corpus), *describe(corpus)):
        assert line.isprintable()
        line.encode()
    text = "\n".join((*summarize(corpus), *describe(corpus)))
    assert r"skipped: b\udce4d\n.mid: it is not" in text
    assert r"caf\udce9.mid" in text and "Für Elise 月.mid" in text
    # Found again: nothing is parsed.
    monkeypatch.setattr("jaxmusic.preparation.parsing.parse_counted", None)
    assert prepare(tmp_path / "in", tmp_path / "out", workers=1).ledger == corpus.ledger


@pytest.mark.slow
@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_odd_names_are_told_in_ascii_too(tmp_path: Path, locale: dict[str, str]) -> None:
    make_odd(tmp_path / "in")
    prepared = ["in", "--corpus", "out", "--workers", "2"]
    for arguments in (prepared, prepared, ["--show", "out"]):
        ran = subprocess.run(
            [sys.executable, SCRIPTS / "prepare.py", *arguments],
            cwd=tmp_path, capture_output=True, check=False, env={**os.environ, **locale},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert b"5 files: 4 used" in ran.stdout or b"5 of 0.0 MB: 4 used" in ran.stdout
        assert (b"b\\udce4d\\n.mid: it is not" in ran.stdout) or (b"caf\\udce9" in ran.stdout)
        assert not ran.stderr
