"""Comparisons of sets of pieces: medians, ranges, shares, what is left out without rhythm."""

import numpy as np
import pytest

from jaxmusic.evaluation.music.comparison import (
    PieceSets,
    compare_histograms,
    compare_scalars,
    summarize_copying,
    summarize_failures,
)
from jaxmusic.evaluation.music.failures import find_failures
from jaxmusic.evaluation.music.notes import NoteArray, make_notes

RNG = np.random.default_rng(0)
SILENCE = make_notes([], [], [])


def piece(length: float) -> NoteArray:
    """20 notes of this length, one after the other, in random pitches."""
    return make_notes(length * np.arange(20), np.full(20, length), RNG.integers(50, 70, 20))


# Note lengths 1 to 21 quarters, of which 5 to 95 % are 2 to 20.
TRAINING = [piece(length) for length in range(1, 22)]


def test_a_statistic_is_compared_by_medians_ranges_and_areas() -> None:
    sets = PieceSets([piece(1), piece(3), piece(4), SILENCE], TRAINING[::2], TRAINING)
    found = compare_scalars(sets, has_times=True)["mean_length"]
    assert (found.generated, found.held_out, found.training) == (3, 11, 11)
    assert (found.training_low, found.training_high) == (2, 20)
    assert found.generated_inside == 0.5  # a piece without notes is outside
    assert found.held_out_inside == pytest.approx(9 / 11)
    assert found.generated_area < found.held_out_area


def test_histograms_are_pooled() -> None:
    sets = PieceSets([piece(1), piece(3)], [piece(1)], [piece(1), piece(1), piece(2)])
    found = compare_histograms(sets, has_times=True)["lengths"]
    assert [found.generated[12], found.generated[36]] == [20, 20]
    assert found.generated_shared == 0.5 and found.held_out_shared == pytest.approx(2 / 3)


def test_without_rhythm_times_are_not_compared() -> None:
    sets = PieceSets([piece(1)], [], TRAINING)
    scalars = compare_scalars(sets, has_times=False)
    assert set(scalars) == {"pitch_entropy", "pitch_class_entropy", "scale_consistency"}
    assert set(compare_histograms(sets, has_times=False)) == {"intervals"}
    assert np.isnan(scalars["pitch_entropy"].held_out)
    nothing = compare_histograms(PieceSets([], [], []), has_times=False)["intervals"]
    assert np.isnan(nothing.generated_shared) and np.isnan(nothing.generated_area)


def test_copying_and_failures_of_a_set() -> None:
    stuck = make_notes(np.arange(40), np.ones(40), np.full(40, 60))
    pieces = [TRAINING[0], stuck, piece(1)]
    summary, copies = summarize_copying(pieces, TRAINING)
    assert summary.longest == 20 and copies[0].song == 0
    assert summary.shares["16"] == pytest.approx(1 / 3)
    found = summarize_failures(
        pieces, find_failures(pieces, [[]] * 3, has_times=True), has_times=True
    )
    assert (found.stuck, found.longest_repeat, found.longest_pitch_run) == (1, 38, 40)
    assert set(found.similarity) == {"1", "2", "4", "8"} and found.similarity["8"] == 1
