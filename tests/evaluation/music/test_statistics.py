"""Statistics of pieces, by muspy's formulas: in loops over a piano roll, and by hand."""

import itertools
import math

import numpy as np
import pytest

from jaxmusic.evaluation.music import statistics
from jaxmusic.evaluation.music.notes import NoteArray, make_notes

STEPS = statistics.GRID  # of the piano roll, a quarter


def random_piece(seed: int, notes: int = 60) -> NoteArray:
    rng = np.random.default_rng(seed)
    return make_notes(
        rng.integers(0, 40 * STEPS, notes) / STEPS, rng.integers(1, 3 * STEPS, notes) / STEPS,
        rng.integers(55, 75, notes),
    )  # fmt: skip


def piano_roll(piece: NoteArray) -> np.ndarray:
    roll = np.zeros((round(piece.end * STEPS), 128), bool)
    for onset, length, pitch in zip(piece.onsets, piece.lengths, piece.pitches, strict=True):
        roll[round(onset * STEPS) : round((onset + length) * STEPS), pitch] = True
    return roll


@pytest.mark.parametrize("seed", range(3))
def test_polyphony_is_pitches_by_sounding_steps(seed: int) -> None:
    piece = random_piece(seed)
    roll = piano_roll(piece)
    expected = roll.sum() / roll.any(axis=1).sum()
    assert statistics.polyphony(piece) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_entropies_are_of_the_normalized_histograms(seed: int) -> None:
    piece = random_piece(seed)
    for found, pitches in (
        (statistics.pitch_entropy(piece), piece.pitches.tolist()),
        (statistics.pitch_class_entropy(piece), (piece.pitches % 12).tolist()),
    ):
        shares = [pitches.count(pitch) / len(pitches) for pitch in set(pitches)]
        assert found == pytest.approx(-sum(share * math.log2(share) for share in shares))


@pytest.mark.parametrize("seed", range(3))
def test_scale_consistency_is_the_best_of_24_scales(seed: int) -> None:
    piece = random_piece(seed, notes=20)
    steps = {"major": [0, 2, 4, 5, 7, 9, 11], "minor": [0, 2, 3, 5, 7, 8, 10]}
    rates = [
        np.mean([(pitch - root) % 12 in scale for pitch in piece.pitches.tolist()])
        for root in range(12)
        for scale in steps.values()
    ]
    assert statistics.scale_consistency(piece) == pytest.approx(max(rates))


@pytest.mark.parametrize("seed", range(3))
def test_empty_beats_are_those_without_a_step_of_sound(seed: int) -> None:
    piece = random_piece(seed, notes=15)
    roll = np.asarray(piano_roll(piece).any(axis=1))
    beats = [roll[at : at + STEPS].any() for at in range(0, len(roll), STEPS)]
    first = int(piece.onsets[0])
    assert statistics.empty_beat_rate(piece) == pytest.approx(1 - np.mean(beats[first:]))


@pytest.mark.parametrize("seed", range(3))
def test_groove_consistency_is_one_minus_the_mean_hamming_distance(seed: int) -> None:
    piece = random_piece(seed)
    bar = 4 * STEPS
    onsets = {round(onset * STEPS) for onset in piece.onsets}
    first, last = min(onsets) // bar, max(onsets) // bar
    bars = [[bar * each + step in onsets for step in range(bar)] for each in range(first, last + 1)]
    distances = [np.mean(np.array(a) != np.array(b)) for a, b in itertools.pairwise(bars)]
    assert statistics.groove_consistency(piece) == pytest.approx(1 - np.mean(distances))


def test_a_small_piece_by_hand() -> None:
    """C and E for two quarters, silence for two, then C for one and G from its middle on."""
    piece = make_notes([0, 0, 4, 4.5], [2, 2, 1, 0.5], [60, 64, 60, 67])
    scalars = {name: each.of(piece) for name, each in statistics.SCALARS.items()}
    assert scalars == pytest.approx({
        "pitch_entropy": 1.5, "pitch_class_entropy": 1.5, "scale_consistency": 1,
        "polyphony": (2 * 2 + 1.5) / 3, "empty_beat_rate": 2 / 5,
        "groove_consistency": 1 - 1 / 48, "notes_per_quarter": 4 / 5,
        "mean_length": 5.5 / 4, "mean_onset_gap": 2.25,
    })  # fmt: skip
    assert statistics.intervals(piece).tolist() == [-4, 7]  # from E to C to G
    assert np.flatnonzero(statistics.interval_histogram(piece)).tolist() == [20, 31]
    assert statistics.length_histogram(piece)[[24, 12, 6]].tolist() == [2, 1, 1]
    assert statistics.gap_histogram(piece)[[48, 6]].tolist() == [1, 1]


def test_overlapping_notes_of_one_pitch_sound_once() -> None:
    piece = make_notes([0, 1, 10], [4, 1, 1], [60, 60, 60])
    assert statistics.polyphony(piece) == 1


def test_nothing_is_defined_for_no_notes() -> None:
    silence = make_notes([], [], [])
    for each in statistics.SCALARS.values():
        assert math.isnan(each.of(silence))
    for histogram in statistics.HISTOGRAMS.values():
        assert histogram.of(silence).sum() == 0
    assert [len(each) for each in statistics.pitch_places(silence)] == [0, 0]
