"""Ways in which generated pieces fail: they stick to one note, repeat themselves, or never do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jaxmusic.evaluation.music.notes import NoteArray
from jaxmusic.evaluation.music.statistics import BAR_PLACES, GRID, pitch_places
from jaxmusic.evaluation.music.suffixes import common_lengths, join_sequences, rank_runs

STUCK = 32  # a run of one pitch or token as long as this, or as the whole piece
LAGS = (1, 2, 4, 8)  # bars


@dataclass(frozen=True)
class Failures:
    """Signs of failure in a piece."""

    pitch_run: int  # notes of one pitch, one after the other
    token_run: int  # equal tokens, one after the other
    stuck: bool
    repeat: int  # notes of the longest run that comes twice; the two may overlap


def find_failures(
    pieces: Sequence[NoteArray], tokens: Sequence[Sequence[str]], *, has_times: bool
) -> list[Failures]:
    """Look at each piece and its tokens; with `has_times`, what repeats has the same rhythm too.

    The tokens of an excerpt, which is known by its notes alone, are an empty list.
    """
    found = []
    repeats = longest_repeats(pieces, has_times=has_times)
    for piece, own, repeat in zip(pieces, tokens, repeats, strict=True):
        _, ids = np.unique(np.array(own, dtype=object).astype(str), return_inverse=True)
        pitch_run, token_run = longest_run(piece.pitches), longest_run(ids)
        stuck = pitch_run >= min(STUCK, len(piece)) or token_run >= min(STUCK, max(len(own), 1))
        found.append(Failures(pitch_run, token_run, bool(stuck), repeat))
    return found


def longest_run(values: npt.NDArray[np.int64]) -> int:
    """The most equal values in a row."""
    edges = np.flatnonzero(np.diff(values)) + 1
    return int(np.diff(np.concatenate([[0], edges, [len(values)]])).max(initial=0))


def longest_repeats(pieces: Sequence[NoteArray], *, has_times: bool) -> list[int]:
    """Notes of the longest run that each piece has at two places.

    With `has_times`, equal runs have the same pitches and, on the grid, the same times from note to
    note; else only the same pitches.
    """
    symbols, owners = join_sequences([_symbols(each, has_times=has_times) for each in pieces])
    if not len(symbols):
        return []
    # No two pieces have a symbol in common.
    ranks = rank_runs(symbols + (int(symbols.max()) + 1) * owners)
    order = np.argsort(ranks[-1], kind="stable")
    common = common_lengths(ranks, order[:-1], order[1:])
    longest = np.zeros(len(pieces), np.int64)
    np.maximum.at(longest, owners[order[1:]], common)
    return longest.tolist()


def _symbols(piece: NoteArray, *, has_times: bool) -> npt.NDArray[np.int64]:
    """Each note as a number: its pitch, and the time since the note before."""
    if not has_times or len(piece) == 0:
        return piece.pitches
    steps = np.rint(piece.onsets * GRID).astype(np.int64)
    gaps = np.diff(steps, prepend=steps[0])
    return gaps * 128 + piece.pitches


def bar_similarity(piece: NoteArray, lag: int) -> float:
    """Mean similarity of the bars that are `lag` apart, 0 to 1.

    That of two bars is the share of the notes of either (pitch and step of the bar) that both have
    (Jaccard's index). NaN when no such pair has notes.
    """
    bars, places = pitch_places(piece)
    notes = np.unique(bars * BAR_PLACES + places)
    counts = np.bincount(notes // BAR_PLACES)
    if len(counts) <= lag:
        return np.nan
    again = notes[np.isin(notes + lag * BAR_PLACES, notes)] // BAR_PLACES
    both = np.bincount(again, minlength=len(counts))[:-lag]
    either = counts[:-lag] + counts[lag:] - both
    return float((both[either > 0] / either[either > 0]).mean()) if either.any() else np.nan
