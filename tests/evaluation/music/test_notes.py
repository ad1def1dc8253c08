"""Notes as arrays: their order, and excerpts."""

import numpy as np

from jaxmusic.evaluation.music.notes import cut_excerpts, gather_notes, make_notes
from jaxmusic.midi.types import Note


def test_tracks_become_one_list_by_onset_from_high_to_low() -> None:
    piece = gather_notes([[Note(0, 480, 60), Note(240, 720, 50)], [Note(0, 120, 67)], []])
    assert piece.pitches.tolist() == [67, 60, 50]
    assert piece.onsets.tolist() == [0, 0, 0.5]
    assert piece.lengths.tolist() == [0.25, 1, 1]
    assert (len(piece), piece.end) == (3, 1.5)
    assert len(gather_notes([])) == 0 and gather_notes([]).end == 0


def test_excerpts_begin_in_their_first_bar() -> None:
    piece = make_notes(np.arange(11) + 0.5, np.ones(11), 60 + np.arange(11))
    first, second = cut_excerpts(piece, 5)
    assert first.pitches.tolist() == [60, 61, 62, 63, 64]
    assert second.pitches.tolist() == [65, 66, 67, 68, 69]  # the last note is left over
    assert first.onsets.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert second.onsets.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5]  # it began at 5.5, in bar 1


def test_a_short_piece_is_its_own_excerpt() -> None:
    piece = make_notes([8, 9], [1, 1], [60, 61])
    (excerpt,) = cut_excerpts(piece, 5)
    assert excerpt.onsets.tolist() == [0, 1]
    (nothing,) = cut_excerpts(make_notes([], [], []), 5)
    assert len(nothing) == 0
