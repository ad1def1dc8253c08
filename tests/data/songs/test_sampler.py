"""Batches that follow songs."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmusic.config import RunConfig
from jaxmusic.data.batch import Batch, CorpusBatches, batch_at
from jaxmusic.data.loader import DeviceLoader, HostLoader, make_loader
from jaxmusic.data.songs.sampler import SongSampler, whole_song_batches
from jaxmusic.data.songs.windows import SongWindows
from jaxmusic.data.token_map import OUT_OF_VOCABULARY, TokenMap
from jaxmusic.distributed.mesh import make_mesh
from jaxmusic.distributed.row_range import RowRange
from jaxmusic.tokenizers.vocabulary import Vocabulary

WINDOW, ROWS = 7, 6
LENGTHS = np.random.default_rng(2).integers(1, 60, size=15)
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
SONGS = list(zip(OFFSETS[:-1].tolist(), OFFSETS[1:].tolist(), strict=True))
STREAM = np.arange(OFFSETS[-1], dtype=np.uint16)  # each token tells where it is


def make_sampler(
    stream: np.ndarray = STREAM, *, seed: int = 2, token_map: TokenMap | None = None, rows: int = 8
) -> SongSampler:
    windows = SongWindows(stream, SONGS, WINDOW)
    return SongSampler(windows, ROWS, seed=seed, row_range=RowRange.all(rows), token_map=token_map)


def epoch_batches(sampler: SongSampler, epoch: int) -> list[Batch]:
    first = epoch * sampler.steps_per_epoch
    return [sampler.batch(first + step) for step in range(sampler.steps_per_epoch)]


def counted(batches: list[Batch]) -> np.ndarray:
    """All targets with weight 1."""
    return np.concatenate([batch.targets[batch.weights > 0] for batch in batches])


def test_an_epoch_has_each_target_of_each_song_once_and_another_order_each_time() -> None:
    sampler = make_sampler()
    orders = []
    for epoch in range(3):
        batches = epoch_batches(sampler, epoch)
        targets = counted(batches)
        expected = [token for start, stop in SONGS for token in range(start + 1, stop)]
        np.testing.assert_array_equal(np.sort(targets), expected)
        for batch in batches:
            inputs, wanted = batch.inputs[batch.weights > 0], batch.targets[batch.weights > 0]
            np.testing.assert_array_equal(inputs + 1, wanted)
            assert not batch.weights[ROWS:].any()  # filling
        assert all(batch.weights[:ROWS].any(axis=1).all() for batch in batches[:-1])
        orders.append(targets.tolist())
    assert orders[0] != orders[1] != orders[2]


def test_a_row_continues_exactly_where_its_window_follows_the_one_before() -> None:
    sampler = make_sampler()
    continuing = 0
    for epoch in range(2):
        before = None
        for batch in epoch_batches(sampler, epoch):
            assert batch.continued is not None
            follows = np.zeros(8, bool)
            if before is not None:
                whole = before.weights[:, -1] > 0
                same = np.isin(batch.inputs[:, 0], OFFSETS[:-1], invert=True)
                follows = whole & same & (before.targets[:, -1] == batch.inputs[:, 0])
                follows &= batch.weights[:, 0] > 0
            np.testing.assert_array_equal(batch.continued, follows)
            continuing += int(follows.sum())
            before = batch
    # Of some 120 windows those inside songs, but for the first ones of lanes.
    inside = int(np.maximum(0, sampler.windows.counts - 1).sum())
    assert 2 * (inside - ROWS) <= continuing <= 2 * inside


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    steps = [0, 5, 40, 41, 300]
    forwards = [make_sampler().batch(step) for step in steps]
    sampler = make_sampler()
    backwards = [sampler.batch(step) for step in steps[::-1]][::-1]
    jax.tree.map(np.testing.assert_array_equal, forwards, backwards)
    assert (make_sampler(seed=3).batch(0).inputs != forwards[0].inputs).any()


def test_what_is_drawn_never_changes() -> None:
    """Runs that go on depend on it. If this fails the order has changed: old runs can't resume."""
    starts = make_sampler().batch_index(23).starts
    assert starts.tolist() == [302, 64, 444, 302, 387, 158, 302, 302]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_make_their_own_rows_of_the_same_batches(processes: int) -> None:
    whole, each = make_sampler(), 8 // processes
    parts = [
        SongSampler(whole.windows, ROWS, seed=2, row_range=RowRange(8, n * each, (n + 1) * each))
        for n in range(processes)
    ]
    for step in (0, 7, whole.steps_per_epoch - 1):
        batches = [part.batch(step) for part in parts]
        joined = jax.tree.map(lambda *arrays: np.concatenate(arrays), *batches)
        jax.tree.map(np.testing.assert_array_equal, joined, whole.batch(step))


def transposing_map(size: int, first_random_row: int = 0) -> TokenMap:
    """Shifts of 0 to 3 tokens in a circle of `size`, of which shift 3 knows no token 0."""
    ids = np.arange(size, dtype=np.int32)
    table = np.stack([(ids + shift) % size for shift in range(4)])
    table[3, 0] = OUT_OF_VOCABULARY
    vocabulary = Vocabulary.of([f"{number:03}" for number in range(size)], "classic")
    return TokenMap(vocabulary, table, (0, 1, 2, 3), first_random_row)


def test_a_song_is_transposed_as_a_whole_and_anew_each_epoch() -> None:
    token_map = transposing_map(len(STREAM))
    plain, moved = make_sampler(), make_sampler(token_map=token_map)
    by_epoch = []
    for epoch in range(12):
        shifts: dict[int, set[int]] = {}
        for here, there in zip(
            epoch_batches(plain, epoch), epoch_batches(moved, epoch), strict=True
        ):
            np.testing.assert_array_equal(here.weights, there.weights)
            difference = (there.targets.astype(int) - here.targets) % len(STREAM)
            songs = np.searchsorted(OFFSETS, here.targets, side="right") - 1
            for song, shift in zip(
                songs[here.weights > 0], difference[here.weights > 0], strict=True
            ):
                shifts.setdefault(int(song), set()).add(int(shift))
        assert all(len(found) == 1 for found in shifts.values())
        by_epoch.append([next(iter(shifts[song])) for song in sorted(shifts)])
    drawn = np.array(by_epoch)
    assert set(drawn[:, 1:].ravel().tolist()) == {0, 1, 2, 3}
    assert set(drawn[:, 0].tolist()) == {0, 1, 2}  # the song with token 0
    assert len({tuple(row) for row in by_epoch}) == 12


@pytest.mark.parametrize("with_map", [False, True])
def test_devices_and_host_give_the_same_batches(tmp_path: Path, with_map: bool) -> None:
    np.save(tmp_path / "tokens.npy", STREAM)
    token_map = transposing_map(len(STREAM)) if with_map else None
    sampler = make_sampler(np.load(tmp_path / "tokens.npy", mmap_mode="r"), token_map=token_map)
    mesh = make_mesh(1)
    first, last = 2, sampler.steps_per_epoch + 3
    devices = make_loader(sampler, mesh, RunConfig(), step=first, last_step=last)
    host = make_loader(sampler, mesh, RunConfig(device_corpus_mib=0), step=first, last_step=last)
    assert isinstance(devices, DeviceLoader) and isinstance(host, HostLoader)
    cut = jax.jit(lambda batches, n: batch_at(batches, n, window=WINDOW, objective="every"))
    several = devices.take(first, last - first)
    assert isinstance(several, CorpusBatches)
    for number in range(last - first):
        expected = sampler.batch(first + number)
        for found in (
            cut(several, jnp.int32(number)),
            cut(host.take(first + number, 1), jnp.int32(0)),
        ):
            jax.tree.map(np.testing.assert_array_equal, found, expected)
    host.close()
    devices.close()


def test_evaluation_has_whole_songs_once_and_never_transposes_them() -> None:
    windows = SongWindows(STREAM, SONGS, WINDOW)
    batches = list(whole_song_batches(windows, RowRange.all(5), transposing_map(len(STREAM))))
    expected = [token for start, stop in SONGS for token in range(start + 1, stop)]
    np.testing.assert_array_equal(np.sort(counted(batches)), expected)
    for batch in batches:
        assert batch.continued is not None
        present = batch.weights[:, 0] > 0
        begins = np.isin(batch.inputs[:, 0], OFFSETS[:-1])
        np.testing.assert_array_equal(batch.continued[present], ~begins[present])
