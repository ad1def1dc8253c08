"""Parsing files, one by one."""

import os
import types
from pathlib import Path
from typing import Any

import pytest
from helpers.midi_files import write_song

from jaxmusic.preparation import parsing
from jaxmusic.preparation.parsing import FileResult, Job, Reader, timestamp
from jaxmusic.tokenizers.tokenizer import parse_counted


def read(folder: Path, *names: str) -> list[FileResult]:
    jobs = [Job(place, name, 0) for place, name in enumerate(names)]
    return Reader(folder, "classic").read(jobs).results


@pytest.mark.parametrize("fault", [RecursionError, OverflowError, MemoryError, KeyError])
def test_a_fault_of_ours_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    for name in ("a.mid", "c.mid"):
        write_song(tmp_path / name, 5, seed=ord(name[0]))
    (tmp_path / "b.mid").write_bytes(b"bad luck")

    def parse_or_fail(data: bytes, scheme: str) -> tuple[list[str], dict[str, int]]:
        if data == b"bad luck":
            raise fault("words")
        return parse_counted(data, scheme)

    monkeypatch.setattr(parsing, "parse_counted", parse_or_fail)
    jobs = [Job(place, f"{name}.mid", 0) for place, name in enumerate("abc")]
    batch = Reader(tmp_path, "classic").read(jobs)
    assert [file.tokens for file in batch.results] == [5, 0, 5] and len(batch.ids) == 10
    assert batch.results[1].reason.startswith(f"a fault of the reader: {fault.__name__}: ")
    assert "words" in batch.results[1].reason
    assert batch.results[1].mtime_ns == 0  # to be tried again


@pytest.mark.parametrize("change", ["grows", "shrinks", "is touched"])
def test_a_file_that_goes_on_changing_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """It changes between the look at it and the reading: simulated by a look into the past."""
    write_song(tmp_path / "a.mid", 5)
    path = tmp_path / "a.mid"
    data = path.read_bytes()
    fstat = os.fstat
    looks = []

    def look_then_change(descriptor: int) -> os.stat_result:
        looks.append(fstat(descriptor))
        if change == "is touched":
            os.utime(path, ns=(1, 10**18 + len(looks)))
        else:
            os.truncate(path, len(data) + len(looks) * (1 if change == "grows" else -1))
        return looks[-1]

    monkeypatch.setattr(os, "fstat", look_then_change)
    monkeypatch.setattr(parsing, "PAUSE", 0)
    (file,) = read(tmp_path, "a.mid")
    assert (file.reason, file.mtime_ns) == ("it changed while it was read", 0)
    assert len(looks) == 2 * parsing.TRIES


def test_a_file_that_changes_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_song(tmp_path / "new.mid", 7)
    write_song(tmp_path / "a.mid", 5)
    data = (tmp_path / "new.mid").read_bytes()
    fstat, looks = os.fstat, 0

    def look_then_write(descriptor: int) -> os.stat_result:
        nonlocal looks
        looks += 1
        found = fstat(descriptor)
        if looks == 1:
            (tmp_path / "a.mid").write_bytes(data)
        return found

    monkeypatch.setattr(os, "fstat", look_then_write)
    (file,) = read(tmp_path, "a.mid")
    assert (file.tokens, file.reason, file.size) == (7, "", len(data))


def test_what_became_no_file_since_it_was_found_is_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mid")
    (tmp_path / "folder.mid").mkdir()
    (tmp_path / "empty.mid").touch()
    (tmp_path / "round.mid").symlink_to("round.mid")
    names = ("pipe.mid", "folder.mid", "empty.mid", "round.mid", "gone.mid", "x" * 300 + ".mid")
    assert [file.reason for file in read(tmp_path, *names)] == [
        "it is not a regular file",
        "it can't be opened: Is a directory",
        "it is not a MIDI file (no MThd at the start)",
        "it can't be opened: Too many levels of symbolic links",
        "it can't be opened: No such file or directory",
        "it can't be opened: File name too long",
    ]


def test_stamps_fit_64_bits_and_are_never_0() -> None:
    """All times that a file system may give: the years 1 to 9999, and the first second of 1970."""
    years = (-62_135_596_800, -9_300_000_000, -1, 0, 1, 9_300_000_000, 253_402_300_799)
    times = [seconds * 10**9 for seconds in years]
    status: list[Any] = [types.SimpleNamespace(st_mtime_ns=time) for time in times]
    stamps = [timestamp(each) for each in status]
    assert all(stamp and -(2**63) <= stamp < 2**63 for stamp in stamps)
    assert len(set(stamps)) == len(stamps)
    assert stamps[4] == times[4]
