"""Generated pieces beside held-out and training songs: statistics, copying, failures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jaxmusic.evaluation.music.copying import GRAMS, Copying, find_copies
from jaxmusic.evaluation.music.failures import LAGS, Failures, bar_similarity
from jaxmusic.evaluation.music.notes import NoteArray, make_notes
from jaxmusic.evaluation.music.overlap import overlapping_area, shared_mass
from jaxmusic.evaluation.music.statistics import HISTOGRAMS, SCALARS

Floats = npt.NDArray[np.float64]

LONG_REPEAT = 16  # notes
RANGE = (5, 95)  # percent of the training songs


@dataclass(frozen=True)
class PieceSets:
    """Pieces of about the same number of notes."""

    generated: list[NoteArray]
    held_out: list[NoteArray]  # may be empty
    training: list[NoteArray]


@dataclass(frozen=True)
class ScalarComparison:
    """A statistic of three sets: medians, and how far the generated set is from the songs.

    The overlapping areas are of distances between pieces (`overlap.py`). That of held-out songs is
    what a perfect network would reach.
    """

    generated: float
    held_out: float
    training: float
    training_low: float
    training_high: float
    generated_inside: float  # share of the generated pieces between low and high
    held_out_inside: float
    generated_area: float
    held_out_area: float


@dataclass(frozen=True)
class HistogramComparison:
    """Histograms of three sets, all pieces of a set together: counts, and what they share."""

    generated: list[float]
    held_out: list[float]
    training: list[float]
    generated_shared: float  # mass in common with the training songs
    held_out_shared: float
    generated_area: float  # of distances between the pieces' histograms
    held_out_area: float


@dataclass(frozen=True)
class CopyingSummary:
    """Copying from the training songs by one set of pieces."""

    median_longest: float  # notes
    longest: int
    shares: dict[str, float]  # by notes of a run: the mean share of a piece's runs found there


@dataclass(frozen=True)
class FailureSummary:
    """Signs of failure in one set of pieces."""

    pieces: int
    stuck: int  # of them
    median_repeat: float  # notes
    longest_repeat: int
    long_repeats: float  # share of the pieces that repeat more than LONG_REPEAT notes
    longest_pitch_run: int
    similarity: dict[str, float]  # by lag in bars, the median; empty without rhythm


def compare_scalars(sets: PieceSets, *, has_times: bool) -> dict[str, ScalarComparison]:
    """Compare all statistics that are a number for each piece."""
    found = {}
    for name, scalar in SCALARS.items():
        if scalar.needs_times and not has_times:
            continue
        generated, held_out, training = (
            np.array([scalar.of(piece) for piece in pieces], np.float64)
            for pieces in (sets.generated, sets.held_out, sets.training)
        )
        low, high = (percentile(training, share) for share in RANGE)
        found[name] = ScalarComparison(
            generated=percentile(generated, 50),
            held_out=percentile(held_out, 50),
            training=percentile(training, 50),
            training_low=low,
            training_high=high,
            generated_inside=_share_inside(generated, low, high),
            held_out_inside=_share_inside(held_out, low, high),
            generated_area=overlapping_area(training, generated),
            held_out_area=overlapping_area(training, held_out),
        )
    return found


def compare_histograms(sets: PieceSets, *, has_times: bool) -> dict[str, HistogramComparison]:
    """Compare all statistics that are a histogram of each piece."""
    found = {}
    for name, histogram in HISTOGRAMS.items():
        if histogram.needs_times and not has_times:
            continue
        size = len(histogram.of(make_notes([], [], [])))
        generated, held_out, training = (
            np.array([histogram.of(piece) for piece in pieces], np.float64).reshape(-1, size)
            for pieces in (sets.generated, sets.held_out, sets.training)
        )
        pooled = [each.sum(axis=0) for each in (generated, held_out, training)]
        shares = [_normalized(each) for each in (generated, held_out, training)]
        found[name] = HistogramComparison(
            generated=pooled[0].tolist(),
            held_out=pooled[1].tolist(),
            training=pooled[2].tolist(),
            generated_shared=shared_mass(pooled[0], pooled[2]),
            held_out_shared=shared_mass(pooled[1], pooled[2]),
            generated_area=overlapping_area(shares[2], shares[0]),
            held_out_area=overlapping_area(shares[2], shares[1]),
        )
    return found


def summarize_copying(
    pieces: Sequence[NoteArray], songs: Sequence[NoteArray]
) -> tuple[CopyingSummary, list[Copying]]:
    """What a set of pieces shares with songs: all together, and each piece."""
    copies = find_copies(pieces, songs)
    longest = np.array([each.longest for each in copies], np.float64)
    shares = {
        str(grams): _mean(np.array([each.shares[grams] for each in copies])) for grams in GRAMS
    }
    return CopyingSummary(percentile(longest, 50), int(longest.max(initial=0)), shares), copies


def summarize_failures(
    pieces: Sequence[NoteArray], failures: Sequence[Failures], *, has_times: bool
) -> FailureSummary:
    """The failures of a set of pieces together, and how much their bars are alike."""
    repeats = np.array([each.repeat for each in failures], np.float64)
    similarity = {}
    for lag in LAGS if has_times else ():
        found = np.array([bar_similarity(piece, lag) for piece in pieces], np.float64)
        similarity[str(lag)] = percentile(found, 50)
    return FailureSummary(
        pieces=len(pieces),
        stuck=sum(each.stuck for each in failures),
        median_repeat=percentile(repeats, 50),
        longest_repeat=int(repeats.max(initial=0)),
        long_repeats=_mean((repeats > LONG_REPEAT).astype(np.float64)),
        longest_pitch_run=max((each.pitch_run for each in failures), default=0),
        similarity=similarity,
    )


def percentile(values: Floats, share: float) -> float:
    """A percentile of the values that are not NaN; NaN without any."""
    defined = values[~np.isnan(values)]
    return float(np.percentile(defined, share)) if len(defined) else np.nan


def _mean(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan


def _share_inside(values: Floats, low: float, high: float) -> float:
    """Of all pieces; one without the statistic is outside."""
    return float(((values >= low) & (values <= high)).mean()) if len(values) else np.nan


def _normalized(counts: Floats) -> Floats:
    """Rows of shares; NaN for a piece without any counts."""
    sums = counts.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(counts, sums, out=np.full_like(counts, np.nan), where=sums > 0)
    return shares
