"""N-gram models: by hand, and against a model of dictionaries that counts token by token."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from jaxmusic.evaluation.likelihood.ngrams import NgramModel

VOCABULARY, ORDER = 6, 5


class DictionaryModel:
    """Witten and Bell's formula, word for word."""

    def __init__(self, songs: list[list[int]]) -> None:
        self.after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for song in songs:
            for index, token in enumerate(song):
                for length in range(min(index, ORDER - 1) + 1):
                    self.after[tuple(song[index - length : index])][token] += 1

    def probability(self, token: int, history: tuple[int, ...]) -> float:
        lower = self.probability(token, history[1:]) if history else 1 / VOCABULARY
        if history not in self.after:
            return lower
        counts = self.after[history]
        return (counts[token] + len(counts) * lower) / (counts.total() + len(counts))


@pytest.fixture
def songs() -> list[np.ndarray]:
    rng = np.random.default_rng(0)  # ids 4 and 5 never occur
    return [rng.integers(0, 4, length).astype(np.uint16) for length in (30, 17, 1, 0, 25)]


def test_probabilities_are_those_of_a_model_of_dictionaries(songs: list[np.ndarray]) -> None:
    model = NgramModel(songs, VOCABULARY, ORDER)
    oracle = DictionaryModel([song.tolist() for song in songs])
    rng = np.random.default_rng(1)
    for song in (songs[0], songs[2], rng.integers(0, VOCABULARY, 60)):
        found = model.probabilities(song)
        tokens = song.tolist()
        for order in range(1, ORDER + 1):
            expected = [
                oracle.probability(token, tuple(tokens[max(0, index - order + 1) : index]))
                for index, token in enumerate(tokens)
            ]
            np.testing.assert_allclose(found[order], expected, rtol=1e-12)
        np.testing.assert_array_equal(found[0], 1 / VOCABULARY)


def test_a_small_example_by_hand() -> None:
    """Of `a b a`, with a vocabulary of three."""
    model = NgramModel([np.array([0, 1, 0])], 3, 2)
    found = model.probabilities(np.array([0, 1, 2]))
    # Unigrams: 3 tokens, 2 kinds. p(a) = (2 + 2/3) / 5, p(b) = (1 + 2/3) / 5, p(c) = (2/3) / 5.
    np.testing.assert_allclose(found[1], np.array([8, 5, 2]) / 15)
    # After a (once, b): p(b | a) = (1 + 1/3) / 2. After b (once, a): p(c | b) = (0 + 2/15) / 2.
    np.testing.assert_allclose(found[2], [8 / 15, 2 / 3, 1 / 15])


def test_the_probabilities_of_all_tokens_sum_to_one(songs: list[np.ndarray]) -> None:
    model = NgramModel(songs, VOCABULARY, ORDER)
    for history in (songs[0][:7], songs[0][3:5], np.array([5, 4]), np.array([], np.int64)):
        rows = [np.append(history, token) for token in range(VOCABULARY)]
        ends = np.stack([model.probabilities(row)[:, -1] for row in rows])
        np.testing.assert_allclose(ends.sum(axis=0), 1, rtol=1e-12)
        assert (ends > 0).all()


def test_without_songs_all_tokens_are_equally_likely() -> None:
    found = NgramModel([], VOCABULARY, 3).probabilities(np.array([1, 2, 3]))
    np.testing.assert_array_equal(found, 1 / VOCABULARY)


def test_no_history_crosses_from_song_to_song() -> None:
    model = NgramModel([np.array([0, 1]), np.array([2, 3])], 4, 2)
    found = model.probabilities(np.array([1, 2]))
    assert found[2, 1] == found[1, 1]  # nothing came after 1
