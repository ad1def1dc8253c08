"""Shuffling without memory: a keyed permutation, and random choices, at any position."""

import math

import numpy as np

ROUNDS = 8
CHOICE_STREAM = 1  # keeps the keys of choices apart from those of permutations


def shuffle(positions: np.ndarray, count: int, *, seed: int, epoch: int) -> np.ndarray:
    """The window (0 to count - 1) at each of `positions` in an epoch's order.

    Over all positions 0..count-1 this is a permutation, another one for each (seed, epoch). It
    is a Feistel network over the pairs (left, right) with left < a, right < b and a * b just
    above `count`, whose few results beyond `count` are permuted again until they fall inside
    (cycle walking: Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains").

    Args:
        positions: of the epoch, integers of any shape, from 0 to count - 1.

    Returns:
        int64, shaped as `positions`.
    """
    a = math.isqrt(max(count - 1, 0)) + 1
    b = -(-count // a)
    keys = np.random.SeedSequence((seed, epoch)).generate_state(ROUNDS, np.uint64)
    indices = _feistel(positions.astype(np.uint64), np.uint64(a), np.uint64(b), keys)
    outside = indices >= count
    while outside.any():
        indices[outside] = _feistel(indices[outside], np.uint64(a), np.uint64(b), keys)
        outside = indices >= count
    return indices.astype(np.int64)


def random_choice(positions: np.ndarray, choices: int, *, seed: int, epoch: int) -> np.ndarray:
    """A uniform random number from 0 to `choices` - 1 for each of `positions` in an epoch.

    It depends on (seed, epoch, position) alone. int64, shaped as `positions`.
    """
    key = np.random.SeedSequence((seed, epoch, CHOICE_STREAM)).generate_state(1, np.uint64)[0]
    return (_mix(positions.astype(np.uint64), key) * np.uint64(choices) >> np.uint64(32)).astype(
        np.int64
    )


def _feistel(x: np.ndarray, a: np.uint64, b: np.uint64, keys: np.ndarray) -> np.ndarray:
    left, right = np.divmod(x, b)
    for number, key in enumerate(keys):
        if number % 2 == 0:
            left = (left + _mix(right, key)) % a
        else:
            right = (right + _mix(left, key)) % b
    return left * b + right


def _mix(x: np.ndarray, key: np.uint64) -> np.ndarray:
    """A hash of 64 bits to 32 (the finaliser of splitmix64; Steele et al. 2014)."""
    x = x ^ key
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x >> np.uint64(32)  # so that adding to `left` or `right` can't overflow
