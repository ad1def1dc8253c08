"""Batches on the devices: cut from a corpus there, or sent by the host."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmusic.config import Objective, RunConfig
from jaxmusic.data.batch import Batch, CorpusBatches, batch_at
from jaxmusic.data.batch_sampler import Feed
from jaxmusic.data.loader import MOST_STEPS, FromDevices, FromHost, make_supply
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.mesh import make_mesh
from jaxmusic.distributed.row_range import Share


def make_feed(path: Path, objective: Objective, dtype: type = np.uint16) -> Feed:
    """Memory-mapped, as a corpus is; an epoch is 8 steps, the last one smaller."""
    tokens = np.random.default_rng(0).integers(0, 60_000, size=300, dtype=dtype)
    np.save(path, tokens)
    stream = np.load(path, mmap_mode="r")
    windows = Windows(stream, [(0, 130), (140, 300)], 12, objective=objective)
    return Feed(windows, 40, seed=3, share=Share.all(48))


@pytest.mark.parametrize("objective", ["last", "every"])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_both_ways_give_the_same_batches(tmp_path: Path, objective: Objective, dtype: type) -> None:
    feed = make_feed(tmp_path / "tokens.npy", objective, dtype)
    mesh = make_mesh(1)
    devices = make_supply(feed, mesh, RunConfig(steps_per_dispatch=5), step=2, last_step=20)
    host = make_supply(feed, mesh, RunConfig(device_corpus_mib=0), step=2, last_step=20)
    assert isinstance(devices, FromDevices) and isinstance(host, FromHost)
    assert (devices.most_steps, host.most_steps) == (MOST_STEPS, 1)
    cut = jax.jit(lambda batches, number: batch_at(batches, number, window=12, objective=objective))
    step = 2
    for count in (5, 1, 3, 5, 4):  # over the ends of two epochs
        several = devices.take(step, count)
        assert isinstance(several, CorpusBatches)
        for number in range(count):
            one = host.take(step, 1)
            expected = feed.batch(step)
            for batch in (cut(several, number), cut(one, 0)):
                for found, wanted in zip(batch, expected, strict=True):
                    assert found.dtype == jnp.dtype(wanted.dtype)
                    np.testing.assert_array_equal(found, wanted)
            step += 1
    assert step == 20
    host.close()
    devices.close()


def test_the_budget_decides(tmp_path: Path) -> None:
    feed = make_feed(tmp_path / "tokens.npy", "last")
    size = feed.windows.tokens.nbytes / 2**20
    for budget, kind in ((size, FromDevices), (size * 0.99, FromHost), (0.0, FromHost)):
        run = RunConfig(device_corpus_mib=budget)
        supply = make_supply(feed, make_mesh(1), run, step=0, last_step=1)
        assert type(supply) is kind
        supply.close()


def test_what_is_sent_for_a_step_is_small(tmp_path: Path) -> None:
    """Places and weights alone, however long the windows are."""
    feed = make_feed(tmp_path / "tokens.npy", "every")
    batches = FromDevices(feed, make_mesh(1), most_steps=3).take(0, 2)
    assert batches.starts.shape == batches.weights.shape == (3, 48)
    assert not np.asarray(batches.weights[2]).any()  # beyond the steps asked for
    batch = FromHost(feed, make_mesh(1), step=0, last_step=5).take(0, 1)
    assert isinstance(batch, Batch) and batch.inputs.shape == (1, 48, 12)
