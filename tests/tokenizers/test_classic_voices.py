"""Voices: the one-pass count and fit against comparing all notes with all."""

import random
from fractions import Fraction

import numpy as np
import pytest
from helpers.executed_lines import executed_lines

from jaxmusic.tokenizers.classic_voices import lost_notes as lost_of_arrays
from jaxmusic.tokenizers.classic_voices import rounds_up

TIMES = (0, 3, 4, 6, 8, 9, 12, 15, 16, 18, 20, 21, 24, 27, 28, 30, 32, 33)
LENGTHS = (0, 0, 3, 4, 6, 8, 9, 12, 16, 24)


def lost_notes(onsets: list[int], lengths: list[int]) -> list[int]:
    return lost_of_arrays(np.array(onsets, np.int64), np.array(lengths, np.int64))


def quarters(twelfths: int) -> float | Fraction:
    """The number as music21 holds it: thirds are exact fractions, the rest floats."""
    return twelfths / 12 if twelfths % 3 == 0 else Fraction(twelfths, 12)


def lost_by_comparing_all(notes: list[tuple[int, int]]) -> list[int]:
    """The same rules by brute force: a list of neighbours a note, a list of notes a voice."""
    voice_count = max(map(len, groups_by_comparing_all(notes)), default=1)
    if voice_count == 1:
        return []
    voices: list[list[int]] = [[] for _ in range(voice_count)]
    lost = []
    for note, (start, _) in enumerate(notes):
        for voice in voices:
            ends = [float(quarters(notes[one][0]) + quarters(notes[one][1])) for one in voice]
            if max(ends, default=0.0) <= quarters(start):
                voice.append(note)
                break
        else:
            lost.append(note)
    return lost


def groups_by_comparing_all(notes: list[tuple[int, int]]) -> list[list[int]]:
    neighbours: list[list[int]] = [[] for _ in notes]
    for first, (start, length) in enumerate(notes):
        for second in range(first + 1, len(notes)):
            spans = sorted([(start, start + length), (notes[second][0], sum(notes[second]))])
            if spans[1][0] >= spans[0][1]:
                break
            neighbours[first].append(second)
            neighbours[second].append(first)

    groups: dict[int, list[int]] = {}  # by the time that names them
    group_of: dict[int, int] = {}
    for note, (start, _) in enumerate(notes):
        if not neighbours[note]:
            continue
        current = None
        for other in [*sorted(neighbours[note]), note]:
            if other in group_of:
                current = group_of[other] if other != note else current
                continue
            if current is None:
                current = start
            groups.setdefault(current, []).append(other)
            group_of[other] = current

    return list(groups.values())


def test_lost_notes_are_those_of_comparing_all() -> None:
    rng = random.Random(0)
    losses = 0
    for count in [*range(3, 12)] * 200 + [*range(12, 40)] * 10:
        onsets = rng.sample(TIMES, 3)  # so few that notes are lost now and then
        notes = [(rng.choice(onsets), rng.choice(LENGTHS)) for _ in range(count)]
        notes.sort(key=lambda note: note[0])
        found = lost_notes([start for start, _ in notes], [length for _, length in notes])
        assert found == lost_by_comparing_all(notes), notes
        losses += bool(found)
    assert losses > 100


@pytest.mark.parametrize(
    ("notes", "lost"),
    [
        ([], []),
        ([(0, 12)], []),
        ([(0, 12), (12, 12)], []),
        ([(0, 12), (0, 12), (0, 12)], []),
        ([(0, 3), (0, 3), (0, 0)], [2]),  # the last overlaps nothing, so two voices are made
        ([(0, 3), (0, 0), (0, 3)], []),  # the second ends the row of the first: nothing overlaps
        ([(4, 16), (16, 4), (20, 3)], [2]),  # ends at 5/3, rounded up, and begins there exactly
        ([(4, 12), (12, 4), (16, 3)], []),  # at 4/3, rounded down
        # The sum of 2/3 as a fraction and 1 as a float is rounded twice, and so is not above 5/3.
        ([(8, 12), (20, 8), (20, 24)], []),
    ],
)
def test_examples(notes: list[tuple[int, int]], lost: list[int]) -> None:
    assert lost_notes([start for start, _ in notes], [length for _, length in notes]) == lost


def test_thirds_that_round_up() -> None:
    assert [n for n in range(25) if rounds_up(n)] == [5, 7, 10, 14, 17, 20, 23]
    assert all(rounds_up(n) == (Fraction(n / 12) > Fraction(n, 12)) for n in range(5000))


COUNT = 20_000


@pytest.mark.parametrize(
    ("onsets", "lengths"),
    [
        ([0] * COUNT, list(range(3, COUNT + 3))),
        (list(range(COUNT)), [3 * COUNT] * COUNT),
        (list(range(COUNT)), list(range(2 * COUNT, 0, -2))),
        ([0] * COUNT, [0] * (COUNT // 2) + [3] * (COUNT // 2)),
        ([0] * COUNT, [3, 0] * (COUNT // 2)),
    ],
    ids=["at once", "never ending", "nested", "of no length", "by turns"],
)
def test_work_grows_with_the_number_of_notes(onsets: list[int], lengths: list[int]) -> None:
    """A few lines of Python a note; array operations of quadratic time would take minutes."""
    assert executed_lines(lambda: lost_notes(onsets, lengths)) < 20 * COUNT
