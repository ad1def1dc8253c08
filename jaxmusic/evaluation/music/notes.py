"""The notes of a piece as arrays, which all measures of music are computed from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jaxmusic.midi.types import Note
from jaxmusic.midi.writer import TICKS_PER_QUARTER

BAR = 4  # quarters: tokens have no meter, and most music has this one


@dataclass(frozen=True)
class NoteArray:
    """The notes of a piece, by onset; of one onset from high to low."""

    onsets: npt.NDArray[np.float64]  # (notes,) quarters
    lengths: npt.NDArray[np.float64]  # (notes,) quarters
    pitches: npt.NDArray[np.int64]  # (notes,) MIDI numbers

    def __len__(self) -> int:
        return len(self.pitches)

    def __getitem__(self, part: slice) -> "NoteArray":
        """Some of the notes, where they are."""
        return NoteArray(self.onsets[part], self.lengths[part], self.pitches[part])

    @property
    def end(self) -> float:
        """When the last note ends, in quarters."""
        return float((self.onsets + self.lengths).max(initial=0.0))


def make_notes(onsets: npt.ArrayLike, lengths: npt.ArrayLike, pitches: npt.ArrayLike) -> NoteArray:
    """Notes in any order, as arrays (notes,) in the order of NoteArray."""
    starts = np.asarray(onsets, np.float64)
    numbers = np.asarray(pitches, np.int64)
    order = np.lexsort((-numbers, starts))
    return NoteArray(starts[order], np.asarray(lengths, np.float64)[order], numbers[order])


def gather_notes(tracks: Sequence[Sequence[Note]]) -> NoteArray:
    """The notes of all tracks that a tokenizer decoded."""
    notes = [note for track in tracks for note in track]
    columns = np.array([note[:3] for note in notes], np.int64).reshape(-1, 3)
    starts, ends, pitches = columns.T
    return make_notes(starts / TICKS_PER_QUARTER, (ends - starts) / TICKS_PER_QUARTER, pitches)


def cut_excerpts(piece: NoteArray, length: int) -> list[NoteArray]:
    """Consecutive excerpts of `length` notes; a shorter piece is its own only excerpt.

    What is left over at the end is dropped. Each excerpt is moved to the left by whole bars, so
    that it begins in its first one.
    """
    starts = range(0, max(len(piece) - length, 0) + 1, length)
    return [_moved(piece[start : start + length]) for start in starts]


def _moved(piece: NoteArray) -> NoteArray:
    if len(piece) == 0:
        return piece
    return replace(piece, onsets=piece.onsets - BAR * np.floor(piece.onsets[0] / BAR))
