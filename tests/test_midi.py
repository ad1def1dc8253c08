"""The MIDI reader: what it reads, what it forgives, what it refuses; and the writer."""

import contextlib
import io
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import mido  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midi_bytes import (
    chunk,
    end,
    header,
    key,
    meta,
    meter,
    midi,
    number,
    off,
    on,
    played,
    program,
    tempo,
    track,
)
from random_midi import damaged_files, dense_file, files, packed_files

from jaxmusic import midi as midi_module
from jaxmusic.midi import MidiError, MidiScore, Note, read_midi, write_notes
from jaxmusic.track import KEY_SIGNATURE, PROGRAM, TEMPO, TIME_SIGNATURE, Mark

SEED_SONGS = os.environ.get("JAXMUSIC_SEED_SONGS", "")
many_files = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

Reader = Callable[[bytes], MidiScore]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    def read_bytes(data: bytes) -> MidiScore:
        path = tmp_path / "file.mid"
        path.write_bytes(data)
        return read_midi(path)

    return read_bytes


def notes_of(score: MidiScore) -> list[list[tuple[int, int, int]]]:
    """Each track's notes: (start, end, pitch)."""
    return [list(zip(t.starts, t.ends, t.pitches, strict=True)) for t in score.tracks]


def notes(read: Reader, *events: bytes) -> list[tuple[int, int, int]]:
    """The notes of one track of the events."""
    return notes_of(read(midi(track(*events))))[0]


# Notes.


def test_a_note_lasts_from_note_on_to_note_off(read: Reader) -> None:
    assert notes(read, on(10, 60), off(300, 60)) == [(10, 310, 60)]


def test_velocity_0_is_a_note_off(read: Reader) -> None:
    assert notes(read, on(0, 60), on(5, 60, 0), on(5, 60, 0)) == [(0, 5, 60)]


def test_a_note_struck_again_ends_and_none_begins(read: Reader) -> None:
    assert notes(read, on(0, 60), on(10, 60), off(10, 60)) == [(0, 10, 60)]


def test_channels_do_not_end_each_others_notes(read: Reader) -> None:
    events = on(0, 60, channel=3), on(1, 60, channel=9), off(1, 60, 3), off(1, 60, 9)
    assert notes(read, *events) == [(0, 2, 60), (1, 3, 60)]


def test_a_note_never_ended_is_left_out(read: Reader) -> None:
    score = read(midi(track(on(0, 60), on(0, 62), off(9, 62)), track(on(0, 64))))
    assert notes_of(score) == [[(0, 9, 62)], []]
    assert [one.sounds for one in score.tracks] == [True, True]


def test_a_track_of_silent_note_ons_does_not_sound(read: Reader) -> None:
    assert not read(midi(track(on(0, 60, 0), off(5, 60)))).tracks[0].sounds


def test_notes_stand_in_the_order_they_begin(read: Reader) -> None:
    assert notes(read, on(0, 72), on(0, 60), off(5, 60), off(5, 72)) == [(0, 10, 72), (0, 5, 60)]


def test_running_status_goes_on_after_meta_events(read: Reader) -> None:
    events = on(0, 60), bytes((7, 62, 1)), tempo(0), bytes((7, 60, 0)), bytes((7, 62, 0))
    assert notes(read, *events) == [(0, 14, 60), (7, 21, 62)]


def test_other_messages_are_passed_over(read: Reader) -> None:
    others = (b"\1\xa0\x3c\1", b"\1\xb0\x40\x7f", b"\1\xd0\2", b"\1\xe0\0\0", b"\1\xf0\3\1\2\xf7",
              b"\1\xf7\2\1\2", meta(1, 1, b"text \xe9"), meta(1, 0x60, b"?"))
    assert notes(read, on(0, 60), *others, off(0, 60)) == [(0, len(others), 60)]


def test_long_deltas(read: Reader) -> None:
    longest = 2**28 - 1
    assert notes(read, on(128, 60), off(longest, 60)) == [(128, 128 + longest, 60)]


def test_marks_are_programs_and_three_meta_events(read: Reader) -> None:
    events = program(1, 5), tempo(1), meter(1), key(1), meta(1, 3, b"name"), program(1, 7, 2)
    assert read(midi(track(*events))).tracks[0].marks == [
        Mark(1, PROGRAM, 5), Mark(2, TEMPO), Mark(3, TIME_SIGNATURE), Mark(4, KEY_SIGNATURE),
        Mark(6, PROGRAM, 7),
    ]


# The header.


@pytest.mark.parametrize("midi_format", [0, 1])
@pytest.mark.parametrize(
    ("division", "ticks_per_quarter"),
    [(1, 1), (480, 480), (0x7FFF, 0x7FFF), (0xE718, 1024), (0xE819, 1024), (0xE21D, 1024),
     (0xE21E, 1024)],
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
    "an unknown SMPTE frame": (midi(track(), division=0xE728), "40 ticks a frame"),
    "65,535 tracks claimed": (header(0xFFFF) + track(), "before track 2 of 65535"),
    "a track missing": (header(2) + track(), "before track 2 of 2"),
    "another chunk among the tracks": (
        header(2) + track() + chunk(b"XFIH", b"0123") + track(), "track 2 of 2 does not begin"),
    "a chunk shorter than it claims": (
        header(2) + chunk(b"MTrk", on(0, 60), 99) + track(), "before track 2 of 2"),
    "a delta without end": (midi(chunk(b"MTrk", b"\x80" * 9)), "more than 4 bytes"),
    "a text size without end": (midi(chunk(b"MTrk", b"\0\xff\1" + b"\xff" * 9)), "4 bytes"),
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


# Files that break the rules and are read all the same, each refused by mido.

NOTE = on(0, 60) + off(5, 60)
FORGIVEN = {
    "a velocity above 127": (chunk(b"MTrk", b"\0\x90\x3c\xff" + off(5, 60)), [(0, 5, 60)]),
    "a pitch above 127": (chunk(b"MTrk", b"\0\x90\xc8\1\5\x80\xc8\1"), [(0, 5, 116)]),
    "a higher pitch above 127": (chunk(b"MTrk", b"\0\x90\x81\1\5\x80\x81\1"), [(0, 5, 117)]),
    "a low class above 127": (chunk(b"MTrk", b"\0\x90\x84\1\5\x80\x84\1"), [(0, 5, 120)]),
    "a controller above 127": (chunk(b"MTrk", b"\0\xb0\7\xff" + NOTE), [(0, 5, 60)]),
    "a key of 9 sharps": (track(key(0, 9), NOTE), [(0, 5, 60)]),
    "a key of 100 flats": (track(key(0, -100), NOTE), [(0, 5, 60)]),
    "a tempo of two bytes": (track(meta(0, 0x51, b"\1\2"), NOTE), [(0, 5, 60)]),
    "a last chunk shorter than it claims": (chunk(b"MTrk", NOTE, 999), [(0, 5, 60)]),
    "a text beyond the end": (chunk(b"MTrk", NOTE + b"\0\xff\1\x7fno"), [(0, 5, 60)]),
    "a lone byte at the end": (chunk(b"MTrk", NOTE + b"\0"), [(0, 5, 60)]),
    "a status at the end": (chunk(b"MTrk", NOTE + b"\0\x90"), [(0, 5, 60)]),
    "a program cut off": (chunk(b"MTrk", NOTE + b"\0\xc0\5"), [(0, 5, 60)]),
    "running status from the start": (chunk(b"MTrk", b"\0\x3c\1\5\x3c\0"), [(0, 5, 60)]),
    # The status is taken for a delta of two bytes: (0x78 << 7) + 5.
    "a clock in running status": (
        chunk(b"MTrk", on(0, 60) + b"\0\xf8\5\x3c\0"), [(0, (0x78 << 7) + 5, 60)]),
    "a status that means nothing": (
        chunk(b"MTrk", on(0, 60) + b"\7\xf5\5\x80\x3c\0"), [(0, 0x3A85, 60)]),
}


@pytest.mark.parametrize("defect", FORGIVEN)
def test_a_file_that_breaks_a_rule_is_read(read: Reader, defect: str) -> None:
    body, expected = FORGIVEN[defect]
    data = midi(body)
    if defect != "a program cut off":
        assert mido_notes(data) is None
    assert notes_of(read(data)) == [expected]


# The two readings of one file: to mido running status goes on after a meta event, so the note ends.
# To music21 it repeats the meta event, which then has a kind that it does not know.
AFTER_META = on(0, 60) + tempo(0) + b"\x07\x3c\x00"


def test_running_status_after_a_meta_event(read: Reader) -> None:
    assert notes_of(read(midi(chunk(b"MTrk", AFTER_META)))) == [[(0, 7, 60)]]


@pytest.mark.parametrize(
    "defect",
    [b"\0\x80\x3c\xff", b"\0\xb0\7\xff", b"\0\xb0\xff\7", b"\0\xc0\xff", b"\0\xd0\xff",
     b"\0\xf0\2\xff\xf7", b"\0\xf7\1\xff", key(0, 9), meta(0, 0x51, b"\1"), meta(0, 0x58, b"\4"),
     meta(0, 0x59, b"\1"), meta(0, 0x20), meta(0, 0, b"\1"), meter(0, 4, 29)],
    ids=lambda data: data.hex(),
)
def test_one_defect_makes_the_whole_file_read_loosely(read: Reader, defect: bytes) -> None:
    data = midi(chunk(b"MTrk", AFTER_META), chunk(b"MTrk", defect + NOTE))
    assert mido_notes(data) is None
    assert notes_of(read(data)) == [[], [(0, 5, 60)]]


def test_a_chunk_of_the_wrong_size_makes_the_whole_file_read_loosely(read: Reader) -> None:
    text = chunk(b"MTrk", NOTE + meta(0, 1, b"12345")[:-3])  # goes on beyond its track
    assert notes_of(read(header(2) + text + chunk(b"MTrk", AFTER_META))) == [[(0, 5, 60)], []]
    last = chunk(b"MTrk", NOTE + meta(0, 1, b"12345"))[:-3]  # and beyond the file
    assert notes_of(read(header(2) + chunk(b"MTrk", AFTER_META) + last)) == [[], [(0, 5, 60)]]


@pytest.mark.parametrize(
    "message",
    [b"\xf1\1", b"\xf2\1\2", b"\xf3\1", b"\xf6", b"\xf8", b"\xfa", b"\xfb", b"\xfc", b"\xfe",
     b"\xf1\1\0\2", b"\xf2\1\2\0\1\2", b"\xf3\1\0\2", b"\xf0\2\1\xf7\0\5\1\2",
     b"\xf7\2\1\2\0\5\1\2", b"\xf0\3\xf0\1\xf7", b"\xf0\0"],
    ids=lambda data: data.hex(),
)
def test_system_messages_that_mido_lets_pass(read: Reader, message: bytes) -> None:
    data = midi(track(on(0, 60), b"\3" + message, off(5, 60)))
    assert notes_of(read(data)) == mido_notes(data) == [[(0, 8, 60)]]


def test_a_track_needs_no_end(read: Reader) -> None:
    assert notes_of(read(midi(chunk(b"MTrk", NOTE)))) == [[(0, 5, 60)]]
    assert notes_of(read(midi(chunk(b"MTrk", NOTE + end() + NOTE)))) == [[(0, 5, 60), (5, 10, 60)]]


# Agreement with mido.


def mido_notes(data: bytes) -> list[list[tuple[int, int, int]]] | None:
    """Each track's notes by mido's messages; None if mido refuses the file."""
    try:
        file = mido.MidiFile(file=io.BytesIO(data))
    except Exception:  # mido has no exception of its own
        return None
    tracks = []
    for messages in file.tracks:
        sounding: dict[tuple[int, int], list[int]] = {}
        found: list[list[int]] = []
        now = 0
        for message in messages:
            now += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            if note := sounding.pop((message.channel, message.note), None):
                note.append(now)
            elif message.type == "note_on" and message.velocity:
                found.append([now, message.note])
                sounding[message.channel, message.note] = found[-1]
        tracks.append([(note[0], note[2], note[1]) for note in found if len(note) == 3])
    return tracks


@given(data=st.one_of(files(), packed_files(), damaged_files()))
@many_files
def test_notes_are_those_of_mido(data: bytes, read: Reader) -> None:
    expected = mido_notes(data)
    if expected is not None:
        try:
            assert notes_of(read(data)) == expected
        except MidiError as error:  # a longer number than the standard has; mido has no limit
            assert "4 bytes" in str(error) or "middle" in str(error)


@pytest.mark.skipif(not SEED_SONGS, reason="JAXMUSIC_SEED_SONGS does not name a folder of songs")
def test_notes_of_the_seed_songs_are_those_of_mido() -> None:
    paths = sorted(Path(SEED_SONGS).glob("*.mid"))
    assert paths
    for path in paths:
        assert notes_of(read_midi(path)) == mido_notes(path.read_bytes()), path.name


# Hostile files.


def test_random_bytes_raise_nothing_but_midi_errors(read: Reader) -> None:
    rng = random.Random(0)
    likely = bytes((0, 0, 1, 0x3C, 0x80, 0x90, 0xC0, 0xF0, 0xF7, 0xF8, 0xFF, 0x51, 0x58, 0x59))
    for _ in range(2000):
        body = bytes(rng.choice(likely) if rng.random() < 0.8 else rng.randrange(256)
                     for _ in range(rng.randrange(80)))
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
