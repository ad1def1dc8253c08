"""The windows of whole songs."""

import numpy as np
import pytest

from jaxmusic.data.songs.windows import SongWindows

STREAM = np.arange(100, dtype=np.uint16)
# 25 tokens, 11 (so 10 targets, whole windows of 5), one, none, three, and the last of the stream.
SONGS = [(0, 25), (30, 41), (41, 42), (42, 42), (42, 45), (93, 100)]


def test_windows_have_each_target_of_each_song_once() -> None:
    windows = SongWindows(STREAM, SONGS, 5)
    assert windows.counts.tolist() == [5, 2, 0, 0, 1, 2]
    assert len(windows) == 10
    offsets = windows.offsets(np.arange(10))
    lengths = windows.lengths(offsets)
    rows = windows.gather(offsets)
    assert rows.shape == (10, 6) and rows.dtype == STREAM.dtype
    found = [row[1 : 1 + length].tolist() for row, length in zip(rows, lengths, strict=True)]
    expected = [t for start, stop in SONGS for t in range(start + 1, stop)]
    assert [token for row in found for token in row] == expected
    # What a target follows is the token before it; the padding is the song's last token.
    for row, length in zip(rows, lengths, strict=True):
        np.testing.assert_array_equal(row[:length] + 1, row[1 : 1 + length])
        assert (row[length:] == row[length]).all()
    inputs, targets = windows[9]
    assert (inputs.tolist(), targets.tolist()) == ([98, 99, 99, 99, 99], [99] * 5)
    with pytest.raises(IndexError):
        _ = windows[10]


def test_windows_without_padding_lie_inside_songs_where_some_fit() -> None:
    inside = SongWindows(STREAM, SONGS, 10).unpadded()
    rows = inside.gather(inside.offsets(np.arange(len(inside))))
    assert rows[:, 0].tolist() == [0, 10, 30]
    stream = SongWindows(STREAM, SONGS, 30).unpadded()
    assert len(stream) == 70 and stream.window == 30
