"""Windows, and the split by song."""

import numpy as np
import pytest

from jaxmusic.config import DataConfig
from jaxmusic.data.windows import Windows, held_out_songs, split_targets, token_ranges
from jaxmusic.errors import UserError

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
    np.testing.assert_array_equal(windows.offsets(np.arange(len(windows))), expected)
    inputs, targets = split_targets(
        windows.gather(windows.offsets(np.arange(len(windows)))), "last"
    )
    np.testing.assert_array_equal(inputs[:, 0], expected)
    np.testing.assert_array_equal(targets, np.array(expected) + window)


def test_no_tokens_no_windows() -> None:
    assert len(Windows(STREAM[:100], [(0, 100)], 100)) == 0
    assert len(Windows(STREAM[:0], [], 100)) == 0


def test_stretches_join_songs_or_not() -> None:
    offsets = np.array([0, 10, 30, 60, 100])
    chosen = np.array([True, True, False, True])
    assert token_ranges(offsets, chosen, across_songs=True).tolist() == [[0, 30], [60, 100]]
    apart = token_ranges(offsets, chosen, across_songs=False)
    assert apart.tolist() == [[0, 10], [10, 30], [60, 100]]


def test_held_out_songs_depend_on_names_and_seed_alone() -> None:
    names = [f"song {number}" for number in range(50)]
    held = held_out_songs(names, DataConfig(held_out=0.1), seed=0)
    assert held.sum() == 5
    backwards = held_out_songs(names[::-1], DataConfig(held_out=0.1), seed=0)
    np.testing.assert_array_equal(held, backwards[::-1])
    assert (held != held_out_songs(names, DataConfig(held_out=0.1), seed=1)).any()
    assert not held_out_songs(names, DataConfig(held_out=0), seed=0).any()
    # A share above 0 holds out one at least.
    assert held_out_songs(names, DataConfig(held_out=0.001), seed=0).sum() == 1
    # A larger share holds out the same songs and more.
    assert (held_out_songs(names, DataConfig(held_out=0.3), seed=0) >= held).all()


def test_holding_out_every_song_is_refused() -> None:
    with pytest.raises(UserError, match="--held-out 0.5 keeps 1 of 1 songs out"):
        held_out_songs(["only"], DataConfig(held_out=0.5), seed=0)


def test_held_out_songs_may_match_a_pattern() -> None:
    names = ["train/1", "valid/1", "train/valid/2", "Valid/3"]
    held = held_out_songs(names, DataConfig(held_out_match="valid/*", held_out=0.5), seed=0)
    assert held.tolist() == [False, True, False, False]


@pytest.mark.raises_at("jaxmusic/data/windows.py:held_out_songs", "--held-out-match")
@pytest.mark.parametrize(("pattern", "found"), [("test/*", "0 of 2"), ("*", "2 of 2")])
def test_a_pattern_of_no_song_or_of_all_is_refused(pattern: str, found: str) -> None:
    with pytest.raises(UserError, match=f"matches {found} songs"):
        held_out_songs(["a/1", "b/1"], DataConfig(held_out_match=pattern), seed=0)
