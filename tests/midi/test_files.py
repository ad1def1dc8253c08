"""The MIDI reader: headers and hostile files; and the writer."""

import contextlib
import random
import time
from pathlib import Path

import mido
import pytest
from helpers.midi_bytes import (
    chunk,
    header,
    midi,
    number,
    off,
    on,
    played,
    track,
)
from helpers.midi_notes import Reader, notes_of
from helpers.random_midi import dense_file

from jaxmusic.midi import files as midi_module
from jaxmusic.midi.files import MidiError, Note, read_midi, write_notes
from jaxmusic.midi.lenient_reader import PROGRAM, Mark

# The header.


@pytest.mark.parametrize("midi_format", [0, 1])
@pytest.mark.parametrize(
    ("division", "ticks_per_quarter"),
    [
        (1, 1),
        (480, 480),
        (0x7FFF, 0x7FFF),
        (0xE718, 1024),
        (0xE819, 1024),
        (0xE21D, 1024),
        (0xE21E, 1024),
    ],
)
def test_divisions(read: Reader, midi_format: int, division: int, ticks_per_quarter: int) -> None:
    data = midi(track(), division=division, midi_format=midi_format)
    assert read(data).ticks_per_quarter == ticks_per_quarter


def test_a_longer_header_is_read(read: Reader) -> None:
    longer = chunk(b"MThd", header(1)[8:] + b"more")
    assert len(read(longer + track(on(0, 60), off(1, 60))).tracks) == 1


def test_bytes_after_the_last_track_are_not_read(read: Reader) -> None:
    assert len(read(midi(track()) + track() + b"junk").tracks) == 1


REFUSED = {
    "an empty file": (b"", "no MThd"),
    "another kind of file": (b"RIFF" + midi(track()), "no MThd"),
    "a header cut off": (midi(track())[:13], "header is too short"),
    "a header too short": (chunk(b"MThd", b"\0\1\0\1") + b"\1\xe0", "header is too short"),
    "format 2": (midi(track(), midi_format=2), "format 2"),
    "format 65,535": (midi(track(), midi_format=0xFFFF), "format 65535"),
    "no ticks": (midi(track(), division=0), "0 ticks a quarter"),
    "an unknown SMPTE frame": (midi(track(), division=0xE728), "frames have 40 ticks"),
    "65,535 tracks claimed": (header(0xFFFF) + track(), "before track 2 of 65535"),
    "a track missing": (header(2) + track(), "before track 2 of 2"),
    "another chunk among the tracks": (
        header(2) + track() + chunk(b"XFIH", b"0123") + track(),
        "track 2 of 2 does not begin",
    ),
    "a chunk shorter than it claims": (
        header(2) + chunk(b"MTrk", on(0, 60), 99) + track(),
        "before track 2 of 2",
    ),
    "a delta without end": (midi(chunk(b"MTrk", b"\x80" * 9)), "middle of an event"),
    "a text size without end": (midi(chunk(b"MTrk", b"\0\xff\1" + b"\xff" * 4)), "middle of"),
    "a delta too large": (
        midi(chunk(b"MTrk", on(0, 60) + number(2**35) + b"\x80\x3c\0")),
        "a number in a track is above 34,359,738,367",
    ),
    "a delta of ten bytes": (
        midi(chunk(b"MTrk", b"\xff" * 9 + b"\x7f" + b"\x90\x3c\1" + off(5, 60))),
        "a number in a track is above 34,359,738,367",
    ),
    "a text size too large": (
        midi(chunk(b"MTrk", b"\0\xff\1" + b"\xff" * 9)),
        "a number in a track is above 34,359,738,367",
    ),
    "a delta cut off": (midi(chunk(b"MTrk", on(0, 60) + b"\x81")), "middle of an event"),
    "a note cut off": (midi(chunk(b"MTrk", b"\0\x90\x3c")), "middle of an event"),
}


@pytest.mark.parametrize("defect", REFUSED)
def test_a_file_without_sense_is_refused_with_the_reason(read: Reader, defect: str) -> None:
    data, reason = REFUSED[defect]
    with pytest.raises(MidiError, match=reason):
        read(data)


def test_a_file_too_large_is_refused(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    data = midi(track())
    monkeypatch.setattr(midi_module, "MAX_FILE_SIZE", len(data))
    read(data)
    with pytest.raises(MidiError, match="larger than"):
        read(data + b"\0")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_midi(tmp_path / "none.mid")


# Hostile files.


def test_random_bytes_raise_nothing_but_midi_errors(read: Reader) -> None:
    rng = random.Random(0)
    likely = bytes((0, 0, 1, 0x3C, 0x80, 0x90, 0xC0, 0xF0, 0xF7, 0xF8, 0xFF, 0x51, 0x58, 0x59))
    for _ in range(2000):
        body = bytes(
            rng.choice(likely) if rng.random() < 0.8 else rng.randrange(256)
            for _ in range(rng.randrange(80))
        )
        data = rng.choice((body, header(1) + chunk(b"MTrk", body), header(2) + body))
        with contextlib.suppress(MidiError):
            read(data)


def test_cut_files_raise_nothing_but_midi_errors(read: Reader) -> None:
    data = dense_file(1)
    for size in range(len(data)):
        with contextlib.suppress(MidiError):
            read(data[:size])


@pytest.mark.parametrize(
    "data",
    [
        midi(chunk(b"MTrk", b"\x80" * 2**21)),
        midi(chunk(b"MTrk", b"\0\xf8" * 2**20)),
        midi(chunk(b"MTrk", b"\0\xf8" * 2**20 + b"\0\x05")),
        midi(chunk(b"MTrk", b"\0\xff\x0b" * 2**19 + b"\0")),
        midi(*[chunk(b"MTrk", b"")] * 0xFFFF),
        midi(*[chunk(b"MTrk", b"\0\5")] * 0xFFFF),
    ],
    ids=["delta", "clocks", "clocks, loose", "unknown metas", "empty tracks", "loose tracks"],
)
def test_reading_takes_time_in_proportion(read: Reader, data: bytes) -> None:
    began = time.process_time()
    with contextlib.suppress(MidiError):
        read(data)
    assert time.process_time() - began < 10  # what is quadratic takes minutes


# Writing.


def test_written_notes_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out.mid"
    left, right = [Note(0, 480, 48), Note(480, 960, 50)], [Note(240, 720, 72, 100)]
    write_notes(path, [left, right], program=5, key="F#m", title="t", tempos=[(0, 90.0)])
    score = read_midi(path)
    assert notes_of(score) == [[], [(0, 480, 48), (480, 960, 50)], [(240, 720, 72)]]
    assert score.ticks_per_quarter == 480
    assert score.tracks[1].marks == [Mark(0, PROGRAM, 5)]
    assert mido.MidiFile(path).tracks[0][2].tempo == mido.bpm2tempo(90)


def test_a_written_pitch_struck_again_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "out.mid"
    write_notes(path, [[Note(0, 480, 60), Note(240, 720, 60), Note(240, 300, 60)]])
    assert notes_of(read_midi(path))[1] == [(0, 240, 60), (240, 720, 60)]


def test_values_that_midi_cannot_hold_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.mid"
    for notes in ([Note(0, 9, 128)], [Note(0, 9, 60, 200)], [Note(-5, 9, 60)]):
        with pytest.raises(ValueError, match=r"."):
            write_notes(path, [notes])
    assert not list(tmp_path.iterdir())


def test_helpers_build_what_they_say() -> None:
    assert number(0x0FFFFFFF) == b"\xff\xff\xff\x7f"
    assert played((0, 5, 60), (5, 5, 60)) == on(0, 60) + off(5, 60) + on(0, 60) + off(0, 60)
