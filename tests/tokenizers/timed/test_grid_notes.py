"""A file's notes on the grid, against exact fractions and by examples."""

import numpy as np
import pytest
from helpers.grid_reference import reference_notes
from helpers.midi_bytes import midi, number, off, on, played, track
from helpers.random_midi import dense_file, files
from hypothesis import given, settings

from jaxmusic.midi.reader import parse_midi
from jaxmusic.midi.types import MidiError
from jaxmusic.tokenizers.timed.grid_notes import LENGTHS, MAX_QUARTERS, grid_notes, to_steps

Notes = list[tuple[int, int, int, int]]  # onset, pitch, length, velocity


def notes_of(data: bytes, grid: int = 12, *, pedal: bool = False) -> tuple[Notes, dict[str, int]]:
    notes, counts = grid_notes(parse_midi(data), grid, pedal=pedal)
    columns = (notes.onsets, notes.pitches, notes.lengths, notes.velocities)
    return list(zip(*(column.tolist() for column in columns), strict=True)), counts


def of(*tracks: bytes, grid: int = 12, pedal: bool = False) -> Notes:
    """Notes of tracks of 48 ticks a quarter: four ticks a step on the grid of 12."""
    return notes_of(midi(*map(track, tracks), division=48), grid, pedal=pedal)[0]


def sustain(delta: int, value: int, channel: int = 0) -> bytes:
    return number(delta) + bytes((0xB0 | channel, 64, value))


@given(data=files())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize(("grid", "pedal"), [(12, False), (48, True)])
def test_notes_are_those_of_exact_arithmetic(grid: int, pedal: bool, data: bytes) -> None:
    notes, counts = notes_of(data, grid, pedal=pedal)
    expected, expected_counts = reference_notes(data, grid, pedal=pedal)
    assert notes == expected
    assert {name: n for name, n in counts.items() if n} == +expected_counts


def test_notes_of_dense_files_are_those_of_exact_arithmetic() -> None:
    for seed in range(20):
        data = dense_file(seed)
        assert notes_of(data)[0] == reference_notes(data, 12, pedal=False)[0], seed


def test_times_move_by_half_a_step_at_most() -> None:
    for quarter in (1, 7, 96, 480, 32767):
        ticks = np.arange(0, 3 * quarter, max(1, quarter // 500))
        for grid in (12, 48):
            error = to_steps(ticks, quarter, grid) * quarter - ticks * grid
            assert (2 * abs(error) <= quarter).all()
    assert to_steps(np.array([1, 2, 3, 5, 6]), 48, 12).tolist() == [0, 1, 1, 1, 2]


def test_notes_of_one_onset_are_from_high_to_low() -> None:
    assert of(played((0, 48, 60), (0, 48, 67)), played((0, 24, 64), (48, 96, 40))) == [
        (0, 67, 12, 64), (0, 64, 6, 64), (0, 60, 12, 64), (12, 40, 12, 64),
    ]  # fmt: skip


def test_a_note_lasts_a_step_at_least() -> None:
    assert of(played((0, 0, 60), (10, 11, 62))) == [(0, 60, 1, 64), (3, 62, 1, 64)]


def test_long_notes_have_the_nearest_length() -> None:
    for steps, expected in ((49, 48), (54, 48), (55, 60), (192, 192), (216, 192), (217, 240)):
        assert of(played((0, 4 * steps, 60))) == [(0, 60, expected, 64)]
    data = midi(track(played((0, 4 * 961, 60), (0, 4 * 960, 61))), division=48)
    notes, counts = notes_of(data)
    assert [note[2] for note in notes] == [960, 960]
    assert counts["cut"] == 1


def test_unisons_are_merged_into_the_longest_and_loudest() -> None:
    loud = on(0, 60, 100) + off(24, 60)
    long = on(1, 60, 30) + off(47, 60)
    notes, counts = notes_of(midi(track(loud), track(long), division=48))
    assert notes == [(0, 60, 12, 100)]
    assert counts["read"] == 2 and counts["merged"] == 1


def test_a_pitch_that_begins_again_ends_the_note_before() -> None:
    notes, counts = notes_of(
        midi(track(played((0, 96, 60))), track(played((40, 60, 60), (220, 240, 60))), division=48)
    )
    assert notes == [(0, 60, 10, 64), (10, 60, 5, 64), (55, 60, 5, 64)]
    assert counts["cut"] == 1
    # Not even a note of the nearest length of those that there are sounds on: 60 for 55.
    assert of(played((0, 220, 60)), played((220, 240, 60)))[0] == (0, 60, 48, 64)


def test_a_note_on_strikes_a_sounding_key_again() -> None:
    """Unlike in the scheme `classic`, where it ends the note and begins none."""
    data = midi(track(on(0, 60) + on(24, 60, 90) + off(24, 60) + off(0, 60)), division=48)
    assert notes_of(data)[0] == [(0, 60, 6, 64), (6, 60, 6, 90)]


def test_drums_and_notes_without_end_are_left_out_and_counted() -> None:
    drums = on(0, 36, channel=9) + off(24, 36, channel=9)
    notes, counts = notes_of(midi(track(drums + on(0, 60) + on(0, 64) + off(48, 64)), division=48))
    assert notes == [(6, 64, 12, 64)]
    assert counts == {"read": 2, "without end": 1, "of drums": 1, "merged": 0, "cut": 0}
    assert notes_of(midi(track(drums)))[0] == []
    assert notes_of(midi())[0] == []


def test_the_pedal_prolongs_notes_of_its_channel() -> None:
    pedal = sustain(0, 127) + sustain(96, 63)
    notes = on(0, 60) + off(48, 60) + on(0, 64, channel=1) + off(12, 64, channel=1)
    assert of(pedal, notes, pedal=True) == [(0, 60, 24, 64), (12, 64, 3, 64)]
    assert of(pedal, notes) == [(0, 60, 12, 64), (12, 64, 3, 64)]


def test_the_pedal_prolongs_a_note_until_its_pitch_begins_again() -> None:
    notes = played((0, 12, 60), (24, 36, 60))
    assert of(sustain(0, 64) + sustain(120, 0), notes, pedal=True) == [
        (0, 60, 6, 64), (6, 60, 24, 64),
    ]  # fmt: skip


def test_a_pedal_that_is_never_released_ends_with_the_last_note() -> None:
    assert of(sustain(0, 64), played((0, 12, 60), (0, 96, 67)), pedal=True) == [
        (0, 67, 24, 64), (0, 60, 24, 64),
    ]  # fmt: skip


def test_a_pedal_pressed_after_a_note_has_no_influence() -> None:
    assert of(sustain(13, 64) + sustain(30, 0), played((0, 12, 60)), pedal=True) == [(0, 60, 3, 64)]


def test_a_note_far_away_is_refused() -> None:
    for quarters in (MAX_QUARTERS, MAX_QUARTERS + 1):
        data = midi(track(on(quarters, 60) + off(1, 60)), division=1)
        if quarters == MAX_QUARTERS:
            assert notes_of(data, 48)[0] == [(48 * quarters, 60, 48, 64)]
        else:
            with pytest.raises(MidiError, match="begins after 1,000,001 quarters"):
                notes_of(data, 48)


def test_nonconforming_files_are_read_too() -> None:
    """The lenient reader: a pitch above 127 is in the top octave, a velocity at most 127."""
    body = on(0, 60, 200) + number(48) + bytes((0x80, 60, 0, 0, 0x90, 130, 64, 24, 0x80, 130, 0))
    assert notes_of(midi(track(body), division=48))[0] == [(0, 60, 12, 127), (12, 118, 6, 64)]
    assert of(sustain(0, 255) + sustain(96, 0) + body, pedal=True)[0] == (24, 60, 12, 127)


def test_lengths_are_those_of_the_vocabulary() -> None:
    assert len(LENGTHS) == 76 and list(LENGTHS) == sorted(set(LENGTHS))
