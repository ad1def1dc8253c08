"""Tracks that break the standard: mido refuses them, and they are read as music21 reads them."""

import pytest
from helpers.midi_bytes import chunk, header, key, meta, meter, midi, number, off, on, tempo, track
from helpers.midi_notes import Reader, mido_notes, notes_of

NOTE = on(0, 60) + off(5, 60)
ACCEPTED = {
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
        chunk(b"MTrk", on(0, 60) + b"\0\xf8\5\x3c\0"),
        [(0, (0x78 << 7) + 5, 60)],
    ),
    "a status that means nothing": (
        chunk(b"MTrk", on(0, 60) + b"\7\xf5\5\x80\x3c\0"),
        [(0, 0x3A85, 60)],
    ),
}


@pytest.mark.parametrize("defect", ACCEPTED)
def test_a_file_that_breaks_a_rule_is_read(read: Reader, defect: str) -> None:
    body, expected = ACCEPTED[defect]
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
    [
        b"\0\x80\x3c\xff",
        b"\0\xb0\7\xff",
        b"\0\xb0\xff\7",
        b"\0\xc0\xff",
        b"\0\xd0\xff",
        b"\0\xf0\2\xff\xf7",
        b"\0\xf7\1\xff",
        key(0, 9),
        meta(0, 0x51, b"\1"),
        meta(0, 0x58, b"\4"),
        meta(0, 0x59, b"\1"),
        meta(0, 0x20),
        meta(0, 0, b"\1"),
        meter(0, 4, 29),
    ],
    ids=lambda data: data.hex(),
)
def test_one_defect_makes_the_whole_file_read_leniently(read: Reader, defect: bytes) -> None:
    data = midi(chunk(b"MTrk", AFTER_META), chunk(b"MTrk", defect + NOTE))
    assert mido_notes(data) is None
    assert notes_of(read(data)) == [[], [(0, 5, 60)]]


def test_a_chunk_of_the_wrong_size_makes_the_whole_file_read_leniently(read: Reader) -> None:
    text = chunk(b"MTrk", NOTE + meta(0, 1, b"12345")[:-3])  # goes on beyond its track
    assert notes_of(read(header(2) + text + chunk(b"MTrk", AFTER_META))) == [[(0, 5, 60)], []]
    last = chunk(b"MTrk", NOTE + meta(0, 1, b"12345"))[:-3]  # and beyond the file
    assert notes_of(read(header(2) + chunk(b"MTrk", AFTER_META) + last)) == [[], [(0, 5, 60)]]


def test_numbers_with_leading_zeros(read: Reader) -> None:
    zeros = b"\x80" * 5
    events = zeros + b"\3\x90\x3c\xff", zeros + number(2**32) + b"\x80\x3c\0"
    text = b"\0\xff\1" + zeros + b"\3abc"
    assert notes_of(read(midi(track(*events, text)))) == [[(3, 3 + 2**32, 60)]]
