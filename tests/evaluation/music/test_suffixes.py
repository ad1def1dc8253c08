"""Common runs, against comparing all pairs of positions."""

import numpy as np
import pytest

from jaxmusic.evaluation.music.suffixes import (
    common_lengths,
    join_sequences,
    longest_shared,
    rank_runs,
)


def common(first: list[int], second: list[int]) -> int:
    length = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        length += 1
    return length


@pytest.fixture
def sequences() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = [rng.integers(0, 3, length) for length in (40, 0, 25, 33)]
    found.append(np.concatenate([[2, 2], found[0][5:31], [0]]))
    return found


def test_the_longest_shared_run_of_each_position(sequences: list[np.ndarray]) -> None:
    symbols, owners = join_sequences(sequences)
    is_reference = owners < 3
    lengths, positions = longest_shared(rank_runs(symbols), is_reference)
    listed = symbols.tolist()
    for index in np.flatnonzero(~is_reference):
        others = [common(listed[index:], listed[at:]) for at in np.flatnonzero(is_reference)]
        assert lengths[index] == max(others)
        assert common(listed[index:], listed[positions[index] :]) == lengths[index]
    assert lengths[~is_reference].max() >= 26


def test_ranks_are_equal_where_runs_are(sequences: list[np.ndarray]) -> None:
    symbols, _ = join_sequences(sequences)
    ranks = rank_runs(symbols)
    listed = symbols.tolist()
    for power, of_runs in enumerate(ranks):
        runs = [tuple(listed[index : index + 2**power]) for index in range(len(listed))]
        order = {run: rank for rank, run in enumerate(sorted(set(runs)))}
        assert of_runs.tolist() == [order[run] for run in runs]


def test_common_lengths_of_pairs(sequences: list[np.ndarray]) -> None:
    symbols, _ = join_sequences(sequences)
    first, second = np.random.default_rng(1).integers(0, len(symbols), (2, 500))
    first, second = first[first != second], second[first != second]
    listed = symbols.tolist()
    expected = [common(listed[a:], listed[b:]) for a, b in zip(first, second, strict=True)]
    assert common_lengths(rank_runs(symbols), first, second).tolist() == expected


def test_no_sequences() -> None:
    symbols, owners = join_sequences([])
    assert len(symbols) == len(owners) == 0
    assert len(rank_runs(symbols)[0]) == 0
