"""N-gram models of tokens, the baselines of a network's likelihood.

Interpolated by the method of Witten and Bell 1991, "The zero-frequency problem", as Chen and
Goodman 1999 ("An empirical study of smoothing techniques for language modeling") write it:

    p(w | h) = (c(hw) + t(h) p(w | h')) / (c(h) + t(h))

where h' is h without its first token, c counts occurrences in the training songs and t(h) the
distinct tokens after h. Below the unigrams all tokens are equally likely; after a history that
never occurred, p(w | h) is p(w | h').
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
UNKNOWN = -1  # in place of an n-gram's index


@dataclass(frozen=True)
class _Grams:
    """All n-grams of one order: `keys[i]` is index of the first n - 1 tokens * V + last token."""

    keys: Ints  # sorted
    counts: Ints  # of each
    followed: Ints  # how often a token comes after each
    followers: Ints  # how many different ones


class NgramModel:
    """N-gram models of all orders up to one, fitted to the same songs."""

    def __init__(self, songs: Sequence[npt.NDArray[np.integer]], vocabulary: int, order: int):
        """Count the n-grams of songs, each an array of token ids below `vocabulary`."""
        self.vocabulary = vocabulary
        self.order = order
        tokens = np.concatenate([*songs, np.zeros(0, np.int64)]).astype(np.int64)
        positions = _positions(songs)
        self._total = len(tokens)
        self._distinct = len(np.unique(tokens))
        self._grams: list[_Grams] = []
        indices = np.zeros(len(tokens), np.int64)  # of the (n - 1)-gram that ends at each token
        for length in range(1, order + 1):
            keys = self._keys(tokens, indices, length)
            exists = positions >= length - 1
            unique, inverse, counts = np.unique(
                keys[exists], return_inverse=True, return_counts=True
            )
            if self._grams:
                before = self._grams[-1]
                parents = unique // vocabulary
                np.add.at(before.followed, parents, counts)
                np.add.at(before.followers, parents, 1)
            indices = np.full(len(tokens), UNKNOWN, np.int64)
            indices[exists] = inverse
            zeros = np.zeros(len(unique), np.int64)
            self._grams.append(_Grams(unique, counts, zeros, zeros.copy()))

    def probabilities(self, song: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Probability of each token after those before it: (order + 1, tokens), by the order.

        Row 0 is the uniform model. At the beginning of the song only what there is is history.
        """
        tokens = np.asarray(song, np.int64)
        found = np.empty((self.order + 1, len(tokens)))
        found[0] = 1 / self.vocabulary
        before = np.zeros(len(tokens), np.int64)
        for length, grams in enumerate(self._grams, 1):
            keys = self._keys(tokens, before, length)
            where = np.searchsorted(grams.keys, keys)
            where[where == len(grams.keys)] = 0
            known = (keys >= 0) & (len(grams.keys) > 0)
            known[known] = grams.keys[where[known]] == keys[known]
            counts = np.where(known, grams.counts[where] if len(grams.keys) else 0, 0)
            total, distinct = self._history(before, length)
            lower = found[length - 1]
            weight = total + distinct
            found[length] = np.where(
                weight > 0, (counts + distinct * lower) / np.maximum(weight, 1), lower
            )
            before = np.where(known, where, UNKNOWN)
        return found

    def _keys(self, tokens: Ints, before: Ints, length: int) -> Ints:
        """Key of the n-gram that ends at each token; UNKNOWN where its beginning is unknown.

        `before` has the index of the (n - 1)-gram that ends at each token.
        """
        if length == 1:
            return tokens
        parents = np.full(len(tokens), UNKNOWN, np.int64)
        parents[1:] = before[:-1]
        return np.where(parents >= 0, parents * self.vocabulary + tokens, UNKNOWN)

    def _history(self, before: Ints, length: int) -> tuple[Ints, Ints]:
        """Of the history of each token, `length - 1` tokens: c(h) and t(h)."""
        if length == 1:
            ones = np.ones(len(before), np.int64)
            return ones * self._total, ones * self._distinct
        grams = self._grams[length - 2]
        parents = np.full(len(before), UNKNOWN, np.int64)
        parents[1:] = before[:-1]
        known = parents >= 0
        total, distinct = np.zeros(len(before), np.int64), np.zeros(len(before), np.int64)
        total[known] = grams.followed[parents[known]]
        distinct[known] = grams.followers[parents[known]]
        return total, distinct


def _positions(songs: Sequence[npt.NDArray[np.integer]]) -> Ints:
    """The place of each token in its own song, for songs end to end."""
    return np.concatenate([*(np.arange(len(song)) for song in songs), np.zeros(0)]).astype(np.int64)
