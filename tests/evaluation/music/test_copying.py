"""Copying, against a search for substrings, and on pieces whose copies are known."""

import numpy as np
import pytest

from jaxmusic.evaluation.music.copying import find_copies
from jaxmusic.evaluation.music.notes import NoteArray, make_notes


def melody(pitches: list[int] | np.ndarray) -> NoteArray:
    return make_notes(np.arange(len(pitches)), np.ones(len(pitches)), pitches)


def walk(rng: np.random.Generator, length: int, spread: int = 3) -> np.ndarray:
    return 60 + np.cumsum(rng.integers(-spread, spread + 1, length)) % 24


def as_text(piece: NoteArray) -> str:
    return "".join(chr(200 + step) for step in np.diff(piece.pitches))


def test_against_a_search_for_substrings() -> None:
    rng = np.random.default_rng(0)
    songs = [melody(walk(rng, length, 1)) for length in (60, 1, 45, 80, 0)]
    pieces = [melody(walk(rng, length, 1)) for length in (50, 1, 2, 70, 0)]
    texts = [as_text(song) for song in songs]
    for piece, found in zip(pieces, find_copies(pieces, songs), strict=True):
        text = as_text(piece)
        runs = {
            length: [text[at : at + length] for at in range(len(text) - length + 1)]
            for length in range(1, len(text) + 1)
        }
        shared = [
            n for n, each in runs.items() if any(run in song for run in each for song in texts)
        ]
        assert found.longest == (max(shared) + 1 if shared else 0)
        assert found.song is None or any(
            run in texts[found.song] for run in runs[found.longest - 1]
        )
        for grams, share in found.shares.items():
            each = runs.get(grams - 1, [])
            if not each:
                assert np.isnan(share)
                continue
            hits = [any(run in song for song in texts) for run in each]
            assert share == pytest.approx(np.mean(hits))


def test_a_copy_in_another_key_and_rhythm_is_found() -> None:
    rng = np.random.default_rng(1)
    songs = [melody(walk(rng, 300, 11)) for _ in range(5)]
    copied = songs[3].pitches[100:140] + 5
    piece = make_notes(
        np.cumsum(rng.uniform(0.1, 1, 80)), np.ones(80),
        np.concatenate([walk(rng, 20, 11), copied, walk(rng, 20, 11)]),
    )  # fmt: skip
    (found,) = find_copies([piece], songs)
    assert 40 <= found.longest <= 42 and found.song == 3
    # Of 80 - 16 + 1 runs of 16 notes, 40 - 16 + 1 lie in the copy.
    assert 25 / 65 <= found.shares[16] <= 27 / 65
    assert found.shares[32] > 0


def test_nothing_to_compare_with() -> None:
    (found,) = find_copies([melody([60, 62, 64])], [])
    assert (found.longest, found.song) == (0, None)
    assert find_copies([], [melody([60, 62])]) == []
