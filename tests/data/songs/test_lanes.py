"""Lanes of songs."""

import numpy as np
import pytest

from jaxmusic.data.songs.lanes import Lanes

COUNTS = np.array([5, 0, 2, 7, 1, 1, 3, 0, 4])  # 23 windows


def walk(lanes: Lanes, rows: int) -> list[list[tuple[int, int, bool]]]:
    """The (song, window, continued) of each lane, to its end."""
    found: list[list[tuple[int, int, bool]]] = [[] for _ in range(rows)]
    for step in range(lanes.steps):
        each = lanes.at(step, np.arange(rows))
        for row in np.flatnonzero(each.present):
            assert len(found[row]) == step  # a lane that has ended doesn't begin again
            found[row].append(
                (int(each.songs[row]), int(each.numbers[row]), bool(each.continued[row]))
            )
        assert not each.continued[~each.present].any()
    return found


@pytest.mark.parametrize("rows", [1, 4, 23, 30])
@pytest.mark.parametrize("whole", [False, True])
def test_each_window_comes_once_and_continues_the_one_before(rows: int, whole: bool) -> None:
    order = np.array([3, 1, 8, 0, 5, 7, 2, 6, 4])
    lanes = Lanes.of_whole_songs(COUNTS, rows) if whole else Lanes.cut_evenly(COUNTS, order, rows)
    found = walk(lanes, rows)
    windows = [(song, number) for lane in found for song, number, _ in lane]
    assert sorted(windows) == [(s, n) for s, count in enumerate(COUNTS) for n in range(count)]
    for lane in found:
        for before, here in zip([None, *lane], lane, strict=False):
            follows = before is not None and before[:2] == (here[0], here[1] - 1)
            assert here[2] == follows
        if whole:  # each song is in one lane, from its beginning
            assert all(continued == (number > 0) for _, number, continued in lane)
    lengths = [len(lane) for lane in found]
    if whole:
        assert max(lengths) == max(7, -(-23 // rows))  # the best that can be, for these
    else:
        assert max(lengths) - min(lengths) <= 1
        songs = [s for s, _ in windows]  # in the order given
        assert list(dict.fromkeys(songs)) == [3, 8, 0, 5, 2, 6, 4]


def test_lanes_beyond_the_last_are_over() -> None:
    each = Lanes.cut_evenly(COUNTS, np.arange(9), 4).at(0, np.arange(2, 7))
    assert each.present.tolist() == [True, True, False, False, False]
