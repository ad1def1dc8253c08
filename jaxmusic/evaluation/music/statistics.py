"""Statistics of a piece, by the usual definitions (those of muspy, but for the two named below).

Sources: Dong et al. 2020, "MusPy: A Toolkit for Symbolic Music Generation"; pitch class entropy and
groove consistency are from Wu and Yang 2020, "The Jazz Transformer on the Front Line"; scale
consistency and polyphony from Mogren 2016, "C-RNN-GAN".
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jaxmusic.evaluation.music.notes import BAR, NoteArray

Floats = npt.NDArray[np.float64]

GRID = 12  # steps of a quarter, for what needs a grid
BAR_PLACES = BAR * GRID * 128  # a step of a bar and a pitch
MOST_STEPS = 48  # of the histograms of times: the last bin has all that is longer
MOST_SEMITONES = 24  # of the histogram of intervals: the outer bins have all wider ones

# Semitones above the root. A natural minor scale has the pitches of the major scale a minor third
# above its root, so the twelve major scales are all scales.
_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_SCALES = np.array([[(pitch - root) % 12 in _MAJOR for pitch in range(12)] for root in range(12)])


def pitch_entropy(piece: NoteArray) -> float:
    """Entropy of the distribution of pitches over the notes, in bits."""
    return _entropy(np.bincount(piece.pitches))


def pitch_class_entropy(piece: NoteArray) -> float:
    """Entropy of the distribution of pitch classes over the notes, in bits."""
    return _entropy(np.bincount(piece.pitches % 12))


def scale_consistency(piece: NoteArray) -> float:
    """The largest share of notes that lie in one major or natural minor scale."""
    if len(piece) == 0:
        return np.nan
    counts = np.bincount(piece.pitches % 12, minlength=12)
    return float((_SCALES @ counts).max() / len(piece))


def polyphony(piece: NoteArray) -> float:
    """Mean number of different pitches that sound, over the time in which any does."""
    starts, ends = _sounding_spans(piece)
    times = np.concatenate([starts, ends])
    order = np.argsort(times, kind="stable")
    steps = np.concatenate([np.ones(len(starts)), -np.ones(len(ends))])[order]
    sounding = np.cumsum(steps)[:-1]
    spans = np.diff(times[order])
    sounds = spans[sounding > 0].sum()
    return float((sounding * spans).sum() / sounds) if sounds > 0 else np.nan


def empty_beat_rate(piece: NoteArray) -> float:
    """The share of quarters in which nothing sounds, from the first note's to the last one's.

    muspy also counts the quarter after the end, and takes a quarter at whose very beginning a note
    ends for one with sound.
    """
    if len(piece) == 0:
        return np.nan
    first = int(piece.onsets[0])
    beats = max(int(np.ceil(piece.end)) - first, 1)
    change = np.zeros(beats + 1, np.int64)
    starts = np.floor(piece.onsets).astype(np.int64) - first
    ends = np.ceil(piece.onsets + piece.lengths).astype(np.int64) - first
    np.add.at(change, starts, 1)
    np.add.at(change, np.maximum(ends, starts + 1), -1)
    return float((np.cumsum(change)[:beats] == 0).mean())


def groove_consistency(piece: NoteArray) -> float:
    """1 - the mean share of a bar's grid steps at which it differs from the next bar in onsets.

    The bars are those from the first onset's to the last one's; muspy also counts the bar in which
    the last note ends. NaN for fewer than two.
    """
    grooves = onset_grid(piece)
    if len(grooves) < 2:
        return np.nan
    return float(1 - (grooves[1:] != grooves[:-1]).mean())


def notes_per_quarter(piece: NoteArray) -> float:
    """Notes by the time from the first onset to the last end."""
    duration = piece.end - float(piece.onsets[0]) if len(piece) else 0.0
    return len(piece) / duration if duration > 0 else np.nan


def mean_length(piece: NoteArray) -> float:
    """Mean length of the notes, in quarters."""
    return float(piece.lengths.mean()) if len(piece) else np.nan


def mean_onset_gap(piece: NoteArray) -> float:
    """Mean time between successive onsets, in quarters."""
    gaps = onset_gaps(piece)
    return float(gaps.mean()) if len(gaps) else np.nan


def onset_gaps(piece: NoteArray) -> Floats:
    """Times between successive onsets, in quarters; notes that begin together have one onset."""
    return np.diff(np.unique(piece.onsets))


def intervals(piece: NoteArray) -> npt.NDArray[np.int64]:
    """Semitones between the highest notes of successive onsets."""
    _, first = np.unique(piece.onsets, return_index=True)  # of one onset the highest is first
    return np.diff(piece.pitches[first])


def onset_grid(piece: NoteArray) -> npt.NDArray[np.bool_]:
    """Whether a note begins at each step: (bars, steps of a bar)."""
    if len(piece) == 0:
        return np.zeros((0, BAR * GRID), bool)
    bars, steps = _bar_steps(piece)
    grid = np.zeros((bars.max() + 1, BAR * GRID), bool)
    grid[bars, steps] = True
    return grid


def pitch_places(piece: NoteArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bar of each note, from the first note's, and its place there: of step and pitch."""
    if len(piece) == 0:
        return piece.pitches, piece.pitches
    bars, steps = _bar_steps(piece)
    return bars, steps * 128 + piece.pitches


def _bar_steps(piece: NoteArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bar of each note, from the first note's, and its step in that bar."""
    steps = np.rint(piece.onsets * GRID).astype(np.int64)
    bars, positions = np.divmod(steps, BAR * GRID)
    return bars - bars.min(), positions


def _sounding_spans(piece: NoteArray) -> tuple[Floats, Floats]:
    """Starts and ends of the times in which each pitch sounds, overlaps of one pitch merged."""
    order = np.lexsort((piece.onsets, piece.pitches))
    # Pitches are laid end to end in time, so that one running maximum serves all of them.
    shift = piece.pitches[order] * (piece.end + 1)
    starts = piece.onsets[order] + shift
    ends = np.maximum.accumulate(starts + piece.lengths[order])
    is_new = np.ones(len(starts), bool)
    is_new[1:] = starts[1:] > ends[:-1]
    is_last = np.append(is_new[1:], True)[: len(starts)]
    return (starts - shift)[is_new], (ends - shift)[is_last]


def _entropy(counts: npt.NDArray[np.int64]) -> float:
    if counts.sum() == 0:
        return np.nan
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _time_histogram(times: Floats) -> Floats:
    steps = np.minimum(np.rint(times * GRID), MOST_STEPS).astype(np.int64)
    return np.bincount(steps, minlength=MOST_STEPS + 1).astype(np.float64)


def length_histogram(piece: NoteArray) -> Floats:
    """Notes by length in grid steps, (MOST_STEPS + 1,)."""
    return _time_histogram(piece.lengths)


def gap_histogram(piece: NoteArray) -> Floats:
    """Onset gaps in grid steps, (MOST_STEPS + 1,)."""
    return _time_histogram(onset_gaps(piece))


def interval_histogram(piece: NoteArray) -> Floats:
    """Intervals from -MOST_SEMITONES to MOST_SEMITONES, (2 * MOST_SEMITONES + 1,)."""
    clipped = np.clip(intervals(piece), -MOST_SEMITONES, MOST_SEMITONES) + MOST_SEMITONES
    return np.bincount(clipped, minlength=2 * MOST_SEMITONES + 1).astype(np.float64)


@dataclass(frozen=True)
class Scalar:
    """A statistic that is a number for each piece (NaN where it is not defined)."""

    words: str  # with the unit
    of: Callable[[NoteArray], float]
    needs_times: bool = False  # it means nothing in schemes whose tokens have no times


@dataclass(frozen=True)
class Histogram:
    """A statistic that is counts for each piece."""

    words: str
    of: Callable[[NoteArray], Floats]
    needs_times: bool = False


SCALARS = {
    "pitch_entropy": Scalar("pitch entropy, bits", pitch_entropy),
    "pitch_class_entropy": Scalar("pitch class entropy, bits", pitch_class_entropy),
    "scale_consistency": Scalar("scale consistency", scale_consistency),
    "polyphony": Scalar("polyphony, pitches", polyphony, True),
    "empty_beat_rate": Scalar("empty beat rate", empty_beat_rate, True),
    "groove_consistency": Scalar("groove consistency", groove_consistency, True),
    "notes_per_quarter": Scalar("notes a quarter", notes_per_quarter, True),
    "mean_length": Scalar("note length, quarters", mean_length, True),
    "mean_onset_gap": Scalar("onset gap, quarters", mean_onset_gap, True),
}
HISTOGRAMS = {
    "intervals": Histogram("intervals", interval_histogram),
    "lengths": Histogram("note lengths", length_histogram, True),
    "onset_gaps": Histogram("onset gaps", gap_histogram, True),
}
