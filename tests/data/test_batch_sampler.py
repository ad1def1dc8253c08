"""The batches of a training."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmusic.data.batch_sampler import BatchSampler, Prefetcher, sequential_batches
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.row_range import RowRange

STREAM = np.arange(1000, dtype=np.uint16)


def test_an_epoch_of_the_feed_has_each_window_once() -> None:
    windows = Windows(STREAM, [(0, 1000)], 100)
    sampler = BatchSampler(windows, 64, seed=2, row_range=RowRange.all(66))
    assert sampler.steps_per_epoch == 15
    for epoch in (0, 1):
        batches = [sampler.batch(epoch * 15 + step) for step in range(15)]
        seen = np.concatenate([batch.inputs[batch.weights > 0, 0] for batch in batches])
        np.testing.assert_array_equal(np.sort(seen), np.arange(900))
    # 900 windows are 14 batches of 64 and one of 4; every batch has 66 rows.
    assert [int(batch.weights.sum()) for batch in batches] == [64] * 14 + [4]
    assert {batch.inputs.shape for batch in batches} == {(66, 100)}
    last = batches[-1]
    assert (last.weights == [1] * 4 + [0] * 62).all()
    np.testing.assert_array_equal(last.targets, last.inputs[:, -1] + 1)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    windows = Windows(np.arange(40_000, dtype=np.uint16), [(0, 40_000)], 20)
    there = BatchSampler(windows, 100, seed=5)
    steps = [0, 163, 164, 399, 400, 1000]  # the order's chunks end inside some of them
    forwards = [there.batch(step).inputs for step in steps]
    again = BatchSampler(windows, 100, seed=5)
    backwards = [again.batch(step).inputs for step in steps[::-1]][::-1]
    for left, right in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(left, right)
    assert (BatchSampler(windows, 100, seed=6).batch(0).inputs != forwards[0]).any()


def test_evaluation_takes_the_windows_in_order() -> None:
    windows = Windows(STREAM, [(0, 100)], 10)
    batches = list(sequential_batches(windows, RowRange.all(32)))
    seen = np.concatenate([batch.inputs[batch.weights > 0, 0] for batch in batches])
    np.testing.assert_array_equal(seen, np.arange(90))


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_make_their_own_rows_of_the_same_batches(processes: int) -> None:
    windows = Windows(STREAM, [(0, 1000)], 100)
    rows = 66
    whole = BatchSampler(windows, 64, seed=2, row_range=RowRange.all(rows))
    each = rows // processes
    parts = [
        BatchSampler(
            windows, 64, seed=2, row_range=RowRange(rows, number * each, (number + 1) * each)
        )
        for number in range(processes)
    ]
    for step in (0, 14, 15, 29):  # 14 and 29 are smaller: some processes have filling alone
        batches = [part.batch(step) for part in parts]
        joined = jax.tree.map(lambda *arrays: np.concatenate(arrays), *batches)
        jax.tree.map(np.testing.assert_array_equal, joined, whole.batch(step))


@pytest.mark.parametrize("mapped", [True, False])
def test_reading_ahead_gives_the_same_batches_and_stops_at_the_last(
    tmp_path: Path, mapped: bool
) -> None:
    np.save(tmp_path / "tokens.npy", STREAM)
    stream = np.load(tmp_path / "tokens.npy", mmap_mode="r") if mapped else STREAM
    sampler = BatchSampler(Windows(stream, [(0, 1000)], 100), 64, seed=2)
    ahead = Prefetcher(sampler, 3, 20)
    for step in range(3, 20):
        jax.tree.map(np.testing.assert_array_equal, ahead.batch(), sampler.batch(step))
    ahead.close()
