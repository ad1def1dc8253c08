"""Windows, the split by song, the feed."""

import numpy as np
import pytest

from jaxmusic.errors import UserError
from jaxmusic.windows import (
    Feed,
    Windows,
    batches_in_order,
    held_out_songs,
    stretches,
)

STREAM = np.arange(1000, dtype=np.uint16)


def test_windows_are_views_of_the_stream() -> None:
    windows = Windows(STREAM, [(0, 1000)], 100)
    inputs, target = windows[5]
    assert np.shares_memory(inputs, STREAM) and np.shares_memory(target, STREAM)
    np.testing.assert_array_equal(inputs, np.arange(5, 105))
    assert target == 105
    assert len(windows) == 900
    assert windows[899][1] == 999
    with pytest.raises(IndexError):
        windows[900]


def test_every_position_has_a_target() -> None:
    windows = Windows(STREAM, [(0, 1000)], 10, objective="every")
    inputs, targets = windows[3]
    np.testing.assert_array_equal(targets, inputs + 1)
    assert np.shares_memory(targets, STREAM)


@pytest.mark.parametrize("stride", [1, 3, 7])
@pytest.mark.parametrize("window", [1, 4, 10])
def test_windows_lie_inside_their_stretches(window: int, stride: int) -> None:
    parts = [(0, 30), (30, 34), (50, 61), (61, 61), (100, 205)]
    windows = Windows(STREAM, parts, window, stride=stride)
    expected = [
        start
        for first, stop in parts
        for start in range(first, stop - window, stride)  # the target lies inside too
    ]
    assert len(windows) == len(expected)
    np.testing.assert_array_equal(windows.places(np.arange(len(windows))), expected)
    inputs, targets = windows.gather(np.arange(len(windows)))
    np.testing.assert_array_equal(inputs[:, 0], expected)
    np.testing.assert_array_equal(targets, np.array(expected) + window)


def test_no_tokens_no_windows() -> None:
    assert len(Windows(STREAM[:100], [(0, 100)], 100)) == 0
    assert len(Windows(STREAM[:0], [], 100)) == 0


def test_stretches_join_songs_or_not() -> None:
    offsets = np.array([0, 10, 30, 60, 100])
    chosen = np.array([True, True, False, True])
    assert stretches(offsets, chosen, across_songs=True) == [(0, 30), (60, 100)]
    assert stretches(offsets, chosen, across_songs=False) == [(0, 10), (10, 30), (60, 100)]


def test_held_out_songs_depend_on_names_and_seed_alone() -> None:
    names = [f"song {number}" for number in range(50)]
    held = held_out_songs(names, 0.1, seed=0)
    assert held.sum() == 5
    backwards = held_out_songs(names[::-1], 0.1, seed=0)
    np.testing.assert_array_equal(held, backwards[::-1])
    assert (held != held_out_songs(names, 0.1, seed=1)).any()
    assert not held_out_songs(names, 0, seed=0).any()
    assert held_out_songs(names, 0.001, seed=0).sum() == 1  # asked for some: at least one
    # A larger share holds out the same songs and more.
    assert (held_out_songs(names, 0.3, seed=0) >= held).all()


def test_holding_out_every_song_is_refused() -> None:
    with pytest.raises(UserError, match="--held-out 0.5 keeps 1 of 1 songs out"):
        held_out_songs(["only"], 0.5, seed=0)


def test_an_epoch_of_the_feed_has_each_window_once() -> None:
    windows = Windows(STREAM, [(0, 1000)], 100)
    feed = Feed(windows, 64, seed=2, rows=66)
    assert feed.steps_per_epoch == 15
    for epoch in (0, 1):
        batches = [feed.batch(epoch * 15 + step) for step in range(15)]
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
    there = Feed(windows, 100, seed=5)
    steps = [0, 163, 164, 399, 400, 1000]  # the order's chunks end inside some of them
    forwards = [there.batch(step).inputs for step in steps]
    backwards = [Feed(windows, 100, seed=5).batch(step).inputs for step in steps[::-1]][::-1]
    for left, right in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(left, right)
    assert (Feed(windows, 100, seed=6).batch(0).inputs != forwards[0]).any()


def test_evaluation_takes_the_windows_in_order() -> None:
    windows = Windows(STREAM, [(0, 100)], 10)
    batches = list(batches_in_order(windows, 32))
    seen = np.concatenate([batch.inputs[batch.weights > 0, 0] for batch in batches])
    np.testing.assert_array_equal(seen, np.arange(90))
