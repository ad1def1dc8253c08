"""Chords of a track: their onsets, lengths and sounds, and which tracks need voices."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxmusic.midi.types import Track
from jaxmusic.tokenizers.classic_chords import gather_chords


def gathered(*notes: tuple[int, int, int]) -> tuple[list[int], list[int], bool]:
    """Onsets and lengths in ticks, and whether voices are needed."""
    starts, ends, pitches = np.array(notes).T
    result = gather_chords(Track(starts, ends, pitches, [], True), 48)
    return result.onsets.tolist(), result.lengths.tolist(), result.needs_voices


def test_a_chord_lasts_from_the_last_onset_to_the_first_end() -> None:
    assert gathered((10, 50, 60), (11, 53, 64), (12, 47, 67)) == ([10], [38], False)


def test_length_0_becomes_a_quarter() -> None:
    assert gathered((10, 10, 60)) == ([10], [48], False)
    assert gathered((10, 12, 60), (12, 14, 64)) == ([10], [48], False)


def test_length_below_0_becomes_0() -> None:
    assert gathered((10, 11, 60), (12, 14, 64)) == ([10], [0], False)


def test_notes_that_begin_together_and_end_apart_need_voices() -> None:
    assert gathered((10, 50, 60), (13, 54, 64))[2]
    assert not gathered((10, 50, 60), (14, 54, 64))[2]
    # A note that is in a chord already counts too.
    assert gathered((10, 50, 60), (10, 54, 64), (10, 51, 67))[2]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30), st.integers(0, 127)), min_size=1))
def test_chords_are_those_of_comparing_all_notes(
    notes: list[tuple[int, int, int]],
) -> None:
    notes = sorted((start, start + length, pitch) for start, length, pitch in notes)
    onsets, lengths, needs_voices = [], [], False
    taken: set[int] = set()
    for head, (start, end, _) in enumerate(notes):
        if head in taken:
            continue
        last = start
        for other in range(head + 1, len(notes)):
            if notes[other][0] > start + 3:
                break
            if abs(notes[other][1] - end) > 3:
                needs_voices = True
                continue
            taken.add(other)
            last = notes[other][0]
        onsets.append(start)
        lengths.append(48 if end == last else max(0, end - last))
    assert gathered(*notes) == (onsets, lengths, needs_voices)
