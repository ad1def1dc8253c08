"""Stuck pieces, repeats, and similar bars, on pieces made so."""

import numpy as np
import pytest

from jaxmusic.evaluation.music.failures import (
    STUCK,
    bar_similarity,
    find_failures,
    longest_repeats,
    longest_run,
)
from jaxmusic.evaluation.music.notes import NoteArray, make_notes

RNG = np.random.default_rng(0)


def melody(pitches: np.ndarray, gaps: np.ndarray | float = 0.5) -> NoteArray:
    onsets = np.cumsum(np.broadcast_to(gaps, len(pitches)))
    return make_notes(onsets, np.ones(len(pitches)), pitches)


def failures(pitches: np.ndarray) -> tuple[int, bool]:
    (found,) = find_failures(
        [melody(pitches)], [[f"note:{pitch}" for pitch in pitches]], has_times=True
    )
    return found.pitch_run, found.stuck


def test_a_piece_that_ends_on_one_note_is_stuck() -> None:
    varied = RNG.permutation(np.arange(40, 80))
    assert failures(varied) == (1, False)
    assert failures(np.append(varied, [60] * (STUCK - 1)))[1] is False
    assert failures(np.append(varied[varied != 60], [60] * STUCK)) == (STUCK, True)


def test_equal_tokens_are_stuck_without_any_note() -> None:
    silence = make_notes([], [], [])
    (found,) = find_failures([silence], [["wait:48"] * STUCK], has_times=True)
    assert (found.token_run, found.stuck, found.repeat) == (STUCK, True, 0)


@pytest.mark.parametrize(("values", "run"), [([], 0), ([3], 1), ([1, 1, 2, 2, 2, 1], 3)])
def test_the_longest_run(values: list[int], run: int) -> None:
    assert longest_run(np.array(values, np.int64)) == run


def test_the_longest_repeat_is_found_for_each_piece_alone() -> None:
    once = RNG.permutation(np.arange(30, 90))
    twice = np.concatenate([once[:20], once[30:41], once[20:30], once[30:41], once[50:]])
    pieces = [melody(once), melody(twice), melody(once), melody(np.full(9, 60)), melody(once[:0])]
    assert longest_repeats(pieces, has_times=False) == [0, 11, 0, 8, 0]


def test_with_times_a_repeat_has_the_same_rhythm() -> None:
    theme = np.array([60, 62, 64, 65, 67, 69, 71, 72])
    pitches = np.concatenate([theme, theme])
    even = melody(pitches)
    assert longest_repeats([even], has_times=True) == [7]  # the first note has none before it
    uneven = melody(pitches, np.where(np.arange(16) < 8, 0.5, 0.25))
    assert longest_repeats([uneven], has_times=True) == [0]
    assert longest_repeats([uneven], has_times=False) == [8]


def test_bars_that_come_again() -> None:
    """Bars a b a b ..., of which a and b share one of three notes."""
    a, b = [(0, 60), (1, 64)], [(0, 60), (1, 65)]
    notes = [
        (4 * bar + start, pitch) for bar in range(8) for start, pitch in (a if bar % 2 == 0 else b)
    ]
    onsets, pitches = zip(*notes, strict=True)
    piece = make_notes(onsets, np.ones(len(notes)), pitches)
    assert bar_similarity(piece, 1) == pytest.approx(1 / 3)
    assert bar_similarity(piece, 2) == 1
    assert np.isnan(bar_similarity(piece, 8))
    assert np.isnan(bar_similarity(make_notes([], [], []), 1))


def test_bars_without_notes_are_like_no_other() -> None:
    piece = make_notes([0, 1, 12, 13], np.ones(4), [60, 62, 60, 64])  # in bars 0 and 3
    assert bar_similarity(piece, 1) == 0
    assert bar_similarity(piece, 3) == pytest.approx(1 / 3)
    assert np.isnan(bar_similarity(make_notes([0, 12], [1, 1], [60, 60]), 4))
