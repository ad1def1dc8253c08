"""Common runs of sequences: suffixes ranked by prefix doubling.

Manber and Myers 1993, "Suffix arrays: a new method for on-line string searches". Exact, in
O(n log n) for each doubling, and no more doublings than the longest run that matters has bits.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Ranks = list[npt.NDArray[np.int32]]  # [k][i]: rank of the 2**k symbols from position i on


def join_sequences(sequences: Sequence[Ints]) -> tuple[Ints, Ints]:
    """Sequences end to end, and the index of the one that each symbol is of.

    After each sequence comes a symbol that nothing else has: no run crosses it.
    """
    if not sequences:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    most = max((int(each.max(initial=0)) for each in sequences), default=0)
    ends = most + 1 + np.arange(len(sequences))
    parts = [np.append(each, end) for each, end in zip(sequences, ends, strict=True)]
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def rank_runs(
    symbols: Ints, is_enough: Callable[[npt.NDArray[np.int32]], bool] = lambda ranks: False
) -> Ranks:
    """Rank the runs of 1, 2, 4, ... symbols from each position on; equal ranks are equal runs.

    The last ranks are those in which all differ, or of which `is_enough` is true.

    Args:
        symbols: (positions,) from `join_sequences`.
    """
    _, inverse = np.unique(symbols, return_inverse=True)
    ranks: Ranks = [inverse.astype(np.int32)]
    length = 1
    while not is_enough(ranks[-1]) and int(ranks[-1].max(initial=0)) + 1 < len(symbols):
        current = ranks[-1].astype(np.int64)
        after = np.zeros_like(current)  # beyond the end, whose mark already tells the run apart
        after[:-length] = current[length:]
        _, inverse = np.unique(current * len(symbols) + after, return_inverse=True)
        ranks.append(inverse.astype(np.int32))
        length *= 2
    return ranks


def common_lengths(ranks: Ranks, first: Ints, second: Ints) -> Ints:
    """How many symbols the runs from positions `first` and `second` have in common: (pairs,).

    At most one less than twice the longest run that was ranked.
    """
    size = len(ranks[0])
    found = np.zeros(len(first), np.int64)
    for power in range(len(ranks) - 1, -1, -1):
        left, right = first + found, second + found
        inside = (left < size) & (right < size)
        same = ranks[power][np.where(inside, left, 0)] == ranks[power][np.where(inside, right, 0)]
        found += (inside & same) * 2**power
    return found


def longest_shared(ranks: Ranks, is_reference: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """For each position, its longest run that also begins at a position of the reference.

    A position of the reference is compared with the others of it. `ranks` must tell apart all runs
    that matter.

    Returns:
        Lengths (positions,), and positions of the reference (positions,), -1 where there are none.
    """
    size = len(is_reference)
    order = np.argsort(ranks[-1], kind="stable")
    # The nearest neighbours in sorted order have the longest common runs.
    where = np.where(is_reference[order], np.arange(size), -1)
    before = np.maximum.accumulate(np.concatenate([[-1], where]))[:-1]
    where = np.where(is_reference[order], np.arange(size), size)
    after = np.minimum.accumulate(np.concatenate([where, [size]])[::-1])[::-1][1:]
    lengths = np.zeros(size, np.int64)
    positions = np.full(size, -1, np.int64)
    for neighbour, exists in ((before, before >= 0), (after, after < size)):
        mine, theirs = order[exists], order[neighbour[exists]]
        common = common_lengths(ranks, mine, theirs)
        better = (common > lengths[mine]) | (positions[mine] < 0)
        lengths[mine[better]] = common[better]
        positions[mine[better]] = theirs[better]
    return lengths, positions
