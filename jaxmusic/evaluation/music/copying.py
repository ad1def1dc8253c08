"""How much of a piece is copied from songs, in any key.

A piece is the sequence of intervals between its successive notes (by onset, of one onset from high
to low): the same in every key and at every speed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jaxmusic.evaluation.music.notes import NoteArray
from jaxmusic.evaluation.music.suffixes import join_sequences, longest_shared, rank_runs

GRAMS = (8, 16, 32)  # notes


@dataclass(frozen=True)
class Copying:
    """What a piece shares with the songs."""

    longest: int  # notes of the longest run that a song has too
    song: int | None  # the index of that song; None: no two notes are shared
    shares: dict[int, float]  # by n: the share of runs of n notes found in a song; NaN: no such run


def find_copies(pieces: Sequence[NoteArray], songs: Sequence[NoteArray]) -> list[Copying]:
    """Compare each piece with all songs."""
    sequences = [_intervals(each) for each in (*songs, *pieces)]
    symbols, owners = join_sequences(sequences)
    is_song = owners < len(songs)

    def none_shared(ranks: npt.NDArray[np.int32]) -> bool:
        of_songs = np.zeros(int(ranks.max(initial=0)) + 1, bool)
        of_songs[ranks[is_song]] = True
        return not of_songs[ranks[~is_song]].any()

    ranks = rank_runs(symbols, none_shared)
    lengths, positions = longest_shared(ranks, is_song)
    return [
        _copying(lengths[mine], positions[mine], owners)
        for mine in np.split(
            np.arange(len(owners)), np.searchsorted(owners, range(1, len(sequences)))
        )[len(songs) :]
    ]


def _copying(
    lengths: npt.NDArray[np.int64], positions: npt.NDArray[np.int64], owners: npt.NDArray[np.int64]
) -> Copying:
    """Of one piece, whose last position is the mark of its end."""
    best = int(lengths.argmax())
    found = int(lengths[best])
    notes = len(lengths)
    shares = {}
    for grams in GRAMS:
        runs = lengths[: max(notes - grams + 1, 0)] + 1  # notes, from each that is not too late
        shares[grams] = float((runs >= grams).mean()) if len(runs) else np.nan
    return Copying(
        longest=found + 1 if found else 0,
        song=int(owners[positions[best]]) if found else None,
        shares=shares,
    )


def _intervals(piece: NoteArray) -> npt.NDArray[np.int64]:
    """From each note to the next, (notes - 1,), as numbers that are not negative."""
    return np.diff(piece.pitches) + 128
