"""The rules of the classic token stream, one by one, on files of a few notes.

At 48 ticks a quarter, 3 ticks are a sixteenth of it, 12 a fourth and 16 a third.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from helpers.midi_bytes import (
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
from hypothesis import given
from hypothesis import strategies as st

from jaxmusic.midi.types import MidiError
from jaxmusic.tokenizers.classic import quantize
from jaxmusic.tokenizers.tokenizer import get_tokenizer, read_tokens

Tokens = Callable[..., list[str]]


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """The tokens of a file of tracks, as a function."""

    def tokens_of(*tracks: bytes, division: int = 48, midi_format: int = 1) -> list[str]:
        path = tmp_path / "file.mid"
        path.write_bytes(midi(*tracks, division=division, midi_format=midi_format))
        return read_tokens(path)

    return tokens_of


# What counts in a track.


@pytest.mark.parametrize("midi_format", [0, 1])
def test_tracks_are_taken_as_they_stand_in_either_format(tokens: Tokens, midi_format: int) -> None:
    first, second = track(played((0, 12, 60))), track(played((0, 12, 64)))
    assert tokens(first, second, midi_format=midi_format) == ["C4", "E4"]


def test_channels_are_not_kept_apart(tokens: Tokens) -> None:
    assert tokens(track(on(0, 60), on(0, 64, channel=9), off(12, 60), off(0, 64, 9))) == ["0.4"]


def test_pedals_bends_and_texts_have_no_influence(tokens: Tokens) -> None:
    others = b"\0\xb0\x40\x7f\0\xe0\0\0\0\xa0\x3c\1\0\xd0\1"
    others += meta(0, 3, b"Flute") + meta(0, 5, b"la")
    assert tokens(track(on(0, 60), others, off(12, 60), others)) == ["C4"]


def test_a_note_struck_again_is_one_note(tokens: Tokens) -> None:
    assert tokens(track(on(0, 60), on(12, 60), off(12, 60), on(0, 62), off(12, 62))) == ["C4", "D4"]


# Chords.


def test_notes_that_begin_and_end_together_are_a_chord(tokens: Tokens) -> None:
    assert tokens(track(played((0, 12, 67), (0, 12, 60), (0, 12, 64)))) == ["0.4.7"]


def test_together_is_up_to_a_sixteenth_of_a_quarter(tokens: Tokens) -> None:
    assert tokens(track(played((0, 48, 60), (3, 48, 64)))) == ["0.4"]
    assert tokens(track(played((0, 48, 60), (4, 48, 64)))) == ["C4", "E4"]
    assert tokens(track(played((0, 48, 60), (0, 51, 64)))) == ["0.4"]
    assert tokens(track(played((0, 48, 60), (0, 52, 64)))) == ["C4", "E4"]


def test_a_sixteenth_may_be_a_fraction_of_a_tick(tokens: Tokens) -> None:
    assert tokens(track(played((0, 99, 60), (6, 99, 64))), division=100) == ["0.4"]
    assert tokens(track(played((0, 99, 60), (7, 99, 64))), division=100) == ["C4", "E4"]
    assert tokens(track(played((0, 480, 60), (30, 480, 64))), division=480) == ["0.4"]
    assert tokens(track(played((0, 480, 60), (31, 480, 64))), division=480) == ["C4", "E4"]


def test_members_are_compared_with_the_first_alone(tokens: Tokens) -> None:
    """The last is as far from the second as is allowed, but too far from the first."""
    assert tokens(track(played((0, 48, 60), (3, 48, 64), (6, 48, 67)))) == ["0.4", "G4"]


def test_a_note_may_be_in_two_chords(tokens: Tokens) -> None:
    """The third note ends 2 ticks from either of the first two, which end 4 ticks apart."""
    assert tokens(track(played((0, 48, 60), (1, 52, 64), (2, 50, 67)))) == ["7.0", "4.7"]


def test_a_note_in_a_chord_begins_no_other(tokens: Tokens) -> None:
    """The second note would take the third along, had the first not taken it."""
    assert tokens(track(played((0, 48, 60), (1, 51, 64), (2, 54, 67)))) == ["0.4", "G4"]


def test_one_pitch_class_in_octaves_is_a_chord(tokens: Tokens) -> None:
    assert tokens(track(played((0, 12, 57), (0, 12, 69)))) == ["9"]


# The grid.


@given(st.integers(0, 10**7), st.integers(1, 32767))
def test_times_go_to_the_nearest_fourth_or_third_and_of_two_to_the_earlier(
    tick: int, ticks_per_quarter: int
) -> None:
    time = Fraction(tick, ticks_per_quarter)
    points = [Fraction(int(time) * 12 + step, 12) for step in (0, 3, 4, 6, 8, 9, 12)]
    nearest = min(points, key=lambda point: (abs(point - time), point))
    assert quantize([tick], ticks_per_quarter).tolist() == [nearest * 12]


def test_the_grid_of_24_ticks() -> None:
    expected = [0, 0, 0, 0, 3, 3, 3, 3, 4, 4, 4, 6, 6, 6, 6, 8, 8, 8, 9, 9, 9, 9, 12, 12, 12]
    assert quantize(range(25), 24).tolist() == expected


def test_notes_are_ordered_by_the_grid_across_tracks(tokens: Tokens) -> None:
    """47 ticks are the next quarter, so the later note of the first track comes first."""
    assert tokens(track(played((48, 60, 60))), track(played((47, 60, 62)))) == ["C4", "D4"]
    assert tokens(track(played((48, 60, 60))), track(played((41, 60, 62)))) == ["D4", "C4"]


# Voices.


def test_a_note_that_fits_into_no_voice_is_lost(tokens: Tokens) -> None:
    """Three notes begin together, one too short for the grid: just two voices are made."""
    long, longer, short = (on(0, 60), on(0, 62), on(0, 64))
    ends = off(1, 64) + off(11, 60) + off(4, 62)
    assert tokens(track(long, longer, short, ends)) == ["C4", "D4"]
    assert tokens(track(short, long, longer, ends)) == ["E4", "C4", "D4"]


def test_a_voice_that_ends_at_5_thirds_is_taken_then(tokens: Tokens) -> None:
    """The end of the first note is rounded up to a float, the onset of the last is exact."""
    notes = (16, 80, 60), (64, 80, 62), (80, 92, 64), (81, 104, 65)
    assert tokens(track(played(*notes))) == ["C4", "D4"]
    notes = (0, 64, 60), (48, 64, 62), (64, 76, 64), (65, 88, 65)
    assert tokens(track(played(*notes))) == ["C4", "D4", "E4", "F4"]


def test_no_note_is_lost_where_none_needs_a_voice(tokens: Tokens) -> None:
    """As above, but no two notes begin within a sixteenth of a quarter."""
    assert tokens(track(played((16, 80, 60), (64, 80, 62), (80, 92, 64)))) == ["C4", "D4", "E4"]


# The first instrument.

C, D, E, F, G = (
    (start, start + 12, pitch)
    for start, pitch in zip((0, 48, 96, 144, 192), (60, 62, 64, 65, 67), strict=True)
)


def with_programs(notes: list[tuple[int, int, int]], *changes: tuple[int, int]) -> bytes:
    """A track of the notes and of program changes (tick, program), these first at their tick."""
    events = [(tick, 0, program(0, value)) for tick, value in changes]
    for start, stop, pitch in notes:
        events += [(start, 1, on(0, pitch)), (stop, 2, off(0, pitch))]
    pieces = []
    now = 0
    for tick, _, event in sorted(events, key=lambda event: event[:2]):
        pieces.append(number(tick - now) + event[1:])
        now = tick
    return track(*pieces)


def test_without_a_program_all_tracks_count(tokens: Tokens) -> None:
    assert tokens(track(played(D)), track(played(C, E))) == ["C4", "D4", "E4"]


def test_notes_count_while_the_first_instrument_plays(tokens: Tokens) -> None:
    assert tokens(with_programs([C, D, E, F, G], (0, 0), (96, 40), (144, 0))) == [
        "C4",
        "D4",
        "F4",
        "G4",
    ]


def test_notes_before_the_first_program_do_not_count(tokens: Tokens) -> None:
    assert tokens(with_programs([C, D, E], (48, 0))) == ["D4", "E4"]


def test_a_program_after_a_note_of_the_same_time_counts_for_it(tokens: Tokens) -> None:
    assert tokens(track(on(0, 60), program(0, 0), off(12, 60))) == ["C4"]
    # So it does when it is put there by the grid.
    assert tokens(track(on(0, 60), program(2, 0), off(10, 60))) == ["C4"]


def test_the_instrument_counts_in_all_tracks(tokens: Tokens) -> None:
    tracks = (
        with_programs([D], (0, 40)),
        with_programs([C], (0, 0)),
        with_programs([C, E, G], (96, 40), (144, 0)),
    )
    assert tokens(*tracks) == ["D4", "E4"]


def test_a_track_without_programs_does_not_count_beside_one_with(tokens: Tokens) -> None:
    assert tokens(track(played(C)), with_programs([D], (0, 5))) == ["D4"]


def test_programs_of_silent_tracks_do_not_count(tokens: Tokens) -> None:
    assert tokens(track(program(0, 40)), with_programs([C], (0, 0))) == ["C4"]
    assert tokens(track(program(0, 40)), track(played(C))) == ["C4"]


def test_programs_without_a_name_are_one_instrument(tokens: Tokens) -> None:
    assert tokens(with_programs([C, D, E], (0, 1), (48, 127), (96, 40))) == ["C4", "D4"]
    assert tokens(with_programs([C, D, E], (0, 0), (48, 1), (96, 0))) == ["C4", "E4"]


def test_the_channel_of_a_program_does_not_matter(tokens: Tokens) -> None:
    assert tokens(track(program(0, 0, 5), played(C, D), program(0, 40, 7), played(C))) == [
        "C4",
        "D4",
    ]


def test_ties_are_ordered_by_track(tokens: Tokens) -> None:
    assert tokens(with_programs([C, D], (0, 0)), with_programs([E, (0, 12, 72)], (0, 0))) == [
        "C4",
        "C5",
        "D4",
        "E4",
    ]


def test_in_a_span_of_no_length_only_notes_of_no_length_count(tokens: Tokens) -> None:
    blip, note = (48, 49, 72), (48, 60, 60)
    changes = (0, 0), (48, 40), (48, 0), (48, 41)
    assert tokens(with_programs([blip, note], *changes)) == ["C5"]
    assert tokens(with_programs([note, blip], (48, 0), (48, 0))) == ["C5", "C4"]
    # 5/3 as a float is above 5/3, so nothing lies between the two.
    blip, note = (80, 81, 72), (80, 92, 60)
    changes = (0, 0), (80, 40), (80, 0), (80, 41)
    assert tokens(with_programs([blip, note], *changes)) == []


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ([], False),
        ([meter(96)], True),
        ([key(96)], True),
        ([tempo(96)], True),
        ([meta(96, 1)], False),
        ([program(96, 40)], False),
    ],
    ids=["nothing", "meter", "key", "tempo", "text", "program"],
)
def test_the_last_span_lasts_up_to_the_last_event_that_counts(
    tokens: Tokens, more: list[bytes], counts: bool
) -> None:
    """At 5/3 of a quarter, where a span of no length holds nothing at all."""
    blip = program(80, 0), on(0, 60), off(1, 60)
    assert tokens(track(*blip), track(*more)) == ["C4"] * counts
    assert tokens(track(*blip, *more)) == ["C4"] * (counts or more == [program(96, 40)])


def test_tempos_of_silent_tracks_count_in_the_first_part_alone(tokens: Tokens) -> None:
    first = with_programs([C], (0, 0))
    blip = track(program(80, 0), on(0, 62), off(1, 62))
    assert tokens(first, blip, track(tempo(96))) == ["C4"]
    assert tokens(first, blip, track(key(96))) == ["C4", "D4"]
    assert tokens(blip, first, track(tempo(96))) == ["C4", "D4"]


def test_keys_of_other_sounding_tracks_do_not_count(tokens: Tokens) -> None:
    blip = track(program(80, 0), on(0, 62), off(1, 62))
    assert tokens(blip, track(on(0, 60), off(12, 60), key(96))) == []
    assert tokens(blip, track(key(96))) == ["D4"]


def test_a_lost_note_does_not_lengthen_the_last_span(tokens: Tokens) -> None:
    """Of the notes at 5/3 the last is lost, and the one of no length stands alone there."""
    body = (
        on(16, 60),
        on(48, 62),
        off(16, 60),
        off(0, 62),
        program(0, 0),
        on(0, 64),
        on(0, 65),
        off(1, 64),
        off(11, 65),
    )
    assert tokens(track(*body)) == []


# Nothing to read.


@pytest.mark.parametrize("body", [b"", program(0, 0), on(0, 60, 0) + off(5, 60), tempo(0)])
def test_a_file_without_note_on_is_refused(tokens: Tokens, body: bytes) -> None:
    with pytest.raises(MidiError, match="no notes"):
        tokens(track(body))


def test_a_file_may_have_no_tokens(tokens: Tokens) -> None:
    assert tokens(track(on(0, 60))) == []
    assert tokens(with_programs([C], (48, 0))) == []


def test_kinds_of_tokens() -> None:
    classic = get_tokenizer("classic")
    tokens = ["C4", "B--1", "0.4.7", "11", "0"]
    assert [classic.kind(token) for token in tokens] == ["note", "note", "chord", "chord", "chord"]
    assert (classic.end_token, classic.fixed_vocabulary()) == (None, None)
    assert classic.may_follow("C4", "0.4.7")
