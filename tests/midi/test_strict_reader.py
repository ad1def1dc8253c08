"""Tracks that keep to the standard: their notes and meta events are those that mido reads."""

import os
from pathlib import Path

import pytest
from helpers.midi_bytes import (
    chunk,
    end,
    key,
    meta,
    meter,
    midi,
    number,
    off,
    on,
    program,
    tempo,
    track,
)
from helpers.midi_notes import Reader, TrackNotes, mido_notes, notes_of
from helpers.random_midi import damaged_files, files, packed_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmusic.midi.reader import read_midi
from jaxmusic.midi.types import KEY_SIGNATURE, PROGRAM, TEMPO, TIME_SIGNATURE, MetaEvent, MidiError
from jaxmusic.tokenizers.classic import ClassicTokenizer

SEED_SONGS = os.environ.get("JAXMUSIC_SEED_SONGS", "")
many_files = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


NOTE = on(0, 60) + off(5, 60)


def notes(read: Reader, *events: bytes) -> TrackNotes:
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
    assert [one.has_note_on for one in score.tracks] == [True, True]


def test_a_track_of_silent_note_ons_does_not_sound(read: Reader) -> None:
    assert not read(midi(track(on(0, 60, 0), off(5, 60)))).tracks[0].has_note_on


def test_notes_stand_in_the_order_they_begin(read: Reader) -> None:
    assert notes(read, on(0, 72), on(0, 60), off(5, 60), off(5, 72)) == [(0, 10, 72), (0, 5, 60)]


def test_running_status_goes_on_after_meta_events(read: Reader) -> None:
    events = on(0, 60), bytes((7, 62, 1)), tempo(0), bytes((7, 60, 0)), bytes((7, 62, 0))
    assert notes(read, *events) == [(0, 14, 60), (7, 21, 62)]


def test_other_messages_are_passed_over(read: Reader) -> None:
    others = (
        b"\1\xa0\x3c\1",
        b"\1\xb0\x40\x7f",
        b"\1\xd0\2",
        b"\1\xe0\0\0",
        b"\1\xf0\3\1\2\xf7",
        b"\1\xf7\2\1\2",
        meta(1, 1, b"text \xe9"),
        meta(1, 0x60, b"?"),
    )
    assert notes(read, on(0, 60), *others, off(0, 60)) == [(0, len(others), 60)]


def test_the_time_before_an_unknown_meta_event_counts(read: Reader) -> None:
    assert notes(read, meta(5, 0x4B, b"?"), on(1, 60), off(1, 60)) == [(6, 7, 60)]


def test_long_deltas(read: Reader) -> None:
    longest = 2**28 - 1
    assert notes(read, on(128, 60), off(longest, 60)) == [(128, 128 + longest, 60)]


def padded(value: int, size: int) -> bytes:
    """A number of so many bytes, with leading zeros."""
    digits = number(value)
    return b"\x80" * (size - len(digits)) + digits


@pytest.mark.parametrize("size", [4, 5, 6, 7, 10, 1000, 200_000])
@pytest.mark.parametrize("value", [0, 5, 300, 2**28 - 1])
@pytest.mark.slow
def test_numbers_of_more_than_four_bytes(read: Reader, size: int, value: int) -> None:
    """As mido reads them, of deltas before and among notes, and of sizes."""
    delta = padded(value, size)
    data = midi(
        track(
            delta + b"\x90\x3c\1", off(5, 60),  # before all
            on(1, 60), delta + b"\x40\1", delta + b"\x40\0", b"\7\x3c\0",  # in a run
            delta + b"\xc0\5", delta + b"\x90\x3c\1", on(3, 61), tempo(2),
            delta + b"\xff\1" + padded(3, size) + b"abc", delta + b"\x3e\1", off(0, 62), off(1, 61),
            delta + b"\xf0" + padded(2, size) + b"\1\xf7", off(4, 60),
        ),
        track(delta + b"\xc0\5", on(1, 60), off(1, 60)),
    )  # fmt: skip
    score = read(data)
    assert notes_of(score) == mido_notes(data)
    assert sum(map(len, notes_of(score))) == 7
    assert [mark.tick for mark in score.tracks[1].meta_events] == [value]


def test_the_largest_numbers(read: Reader) -> None:
    """-1 as a number of 32 bits is met in files; the sums of the largest ones stay exact."""
    for value in (2**32 - 1, 2**35 - 1):
        events = b"".join(
            number(value) + b"\x3c\1" + number(value) + b"\x3c\0" for _ in range(9999)
        )
        data = midi(track(on(0, 62), on(1, 62, 0), events), track(on(value, 60), off(value, 60)))
        score = read(data)
        assert notes_of(score) == mido_notes(data)
        assert score.tracks[0].ends[-1] == 1 + 2 * 9999 * value
        assert len(ClassicTokenizer().encode(score)) == 10_001


def test_marks_are_programs_and_three_meta_events(read: Reader) -> None:
    events = program(1, 5), tempo(1), meter(1), key(1), meta(1, 3, b"name"), program(1, 7, 2)
    assert read(midi(track(*events))).tracks[0].meta_events == [
        MetaEvent(1, PROGRAM, 5),
        MetaEvent(2, TEMPO),
        MetaEvent(3, TIME_SIGNATURE),
        MetaEvent(4, KEY_SIGNATURE),
        MetaEvent(6, PROGRAM, 7),
    ]


@pytest.mark.parametrize(
    "message",
    [
        b"\xf1\1",
        b"\xf2\1\2",
        b"\xf3\1",
        b"\xf6",
        b"\xf8",
        b"\xfa",
        b"\xfb",
        b"\xfc",
        b"\xfe",
        b"\xf1\1\0\2",
        b"\xf2\1\2\0\1\2",
        b"\xf3\1\0\2",
        b"\xf0\2\1\xf7\0\5\1\2",
        b"\xf7\2\1\2\0\5\1\2",
        b"\xf0\3\xf0\1\xf7",
        b"\xf0\0",
    ],
    ids=lambda data: data.hex(),
)
def test_system_messages_that_mido_lets_pass(read: Reader, message: bytes) -> None:
    data = midi(track(on(0, 60), b"\3" + message, off(5, 60)))
    assert notes_of(read(data)) == mido_notes(data) == [[(0, 8, 60)]]


def test_a_track_needs_no_end(read: Reader) -> None:
    assert notes_of(read(midi(chunk(b"MTrk", NOTE)))) == [[(0, 5, 60)]]
    assert notes_of(read(midi(chunk(b"MTrk", NOTE + end() + NOTE)))) == [[(0, 5, 60), (5, 10, 60)]]


# Agreement with mido.


@given(data=st.one_of(files(), packed_files(), damaged_files()))
@many_files
@pytest.mark.slow
def test_notes_are_those_of_mido(data: bytes, read: Reader) -> None:
    expected = mido_notes(data)
    if expected is not None:
        try:
            assert notes_of(read(data)) == expected
        except MidiError as error:  # mido has no limit
            assert "a number in a track is above" in str(error)


@pytest.mark.skipif(not SEED_SONGS, reason="JAXMUSIC_SEED_SONGS does not name a folder of songs")
@pytest.mark.slow
def test_notes_of_the_seed_songs_are_those_of_mido() -> None:
    paths = sorted(Path(SEED_SONGS).glob("*.mid"))
    assert paths
    for path in paths:
        assert notes_of(read_midi(path)) == mido_notes(path.read_bytes()), path.name
