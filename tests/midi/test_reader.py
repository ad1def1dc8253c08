"""MIDI files: their headers, what is refused, and hostile bytes."""

import random
from collections import Counter
from pathlib import Path

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

from jaxmusic.midi import reader
from jaxmusic.midi.reader import read_midi
from jaxmusic.midi.types import MidiError

# The header.


def test_helpers_build_what_they_say() -> None:
    assert number(0x0FFFFFFF) == b"\xff\xff\xff\x7f"
    assert played((0, 5, 60), (5, 5, 60)) == on(0, 60) + off(5, 60) + on(0, 60) + off(0, 60)


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
    monkeypatch.setattr(reader, "MAX_FILE_SIZE", len(data))
    read(data)
    with pytest.raises(MidiError, match="larger than"):
        read(data + b"\0")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_midi(tmp_path / "none.mid")


# Hostile files.


@pytest.mark.slow
def test_random_bytes_raise_nothing_but_midi_errors(read: Reader) -> None:
    rng = random.Random(0)
    likely = bytes((0, 0, 1, 0x3C, 0x80, 0x90, 0xC0, 0xF0, 0xF7, 0xF8, 0xFF, 0x51, 0x58, 0x59))
    outcomes = Counter[str]()
    for _ in range(2000):
        body = bytes(
            rng.choice(likely) if rng.random() < 0.8 else rng.randrange(256)
            for _ in range(rng.randrange(80))
        )
        data = rng.choice((body, header(1) + chunk(b"MTrk", body), header(2) + body))
        try:
            outcomes["notes"] += sum(map(len, notes_of(read(data))))
            outcomes["read"] += 1
        except MidiError:
            outcomes["refused"] += 1
    assert outcomes["read"] > 400 and outcomes["refused"] > 1000 and outcomes["notes"] > 50


def test_files_cut_short_give_their_whole_tracks_or_midi_errors(read: Reader) -> None:
    data = dense_file(1)
    *whole_tracks, last = notes_of(read(data))
    read_cuts = 0
    for size in range(len(data)):
        try:
            *tracks, last_cut = notes_of(read(data[:size]))
        except MidiError:
            continue
        read_cuts += 1
        assert tracks == whole_tracks
        assert len(set(last_cut) - set(last)) <= 1  # the event that was cut
    assert read_cuts > 200


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (midi(chunk(b"MTrk", b"\x80" * 2**21)), "middle of an event"),
        (midi(chunk(b"MTrk", b"\0\xf8" * 2**19)), 1),
        (midi(chunk(b"MTrk", b"\0\xf8" * 2**18 + b"\0\x05")), 1),
        (midi(chunk(b"MTrk", b"\0\xff\x0b" * 2**18 + b"\0")), 1),
        (midi(*[chunk(b"MTrk", b"")] * 10_000), 10_000),
        (midi(*[chunk(b"MTrk", b"\0\5")] * 10_000), 10_000),
        (midi(*[chunk(b"MTrk", b"")] * 0xFFFF), "too much in it"),
    ],
    ids=[
        "delta", "clocks", "clocks, lenient", "unknown metas", "empty tracks", "lenient tracks",
        "too many tracks",
    ],
)  # fmt: skip
def test_large_hostile_files_are_read_or_refused(
    read: Reader, data: bytes, outcome: int | str
) -> None:
    """In a second or so: a reader whose time is quadratic in the size takes many minutes here."""
    if isinstance(outcome, str):
        with pytest.raises(MidiError, match=outcome):
            read(data)
    else:
        assert len(read(data).tracks) == outcome
