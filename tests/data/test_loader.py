"""Batches on the devices: cut from a corpus there, or sent by the host."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmusic.config import Objective, RunConfig
from jaxmusic.data.batch import Batch, CorpusBatches, batch_at
from jaxmusic.data.batch_sampler import BatchSampler
from jaxmusic.data.loader import MAX_STEPS_PER_DISPATCH, DeviceLoader, HostLoader, make_loader
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.mesh import make_mesh
from jaxmusic.distributed.row_range import RowRange


def make_sampler(path: Path, objective: Objective, dtype: type = np.uint16) -> BatchSampler:
    """Memory-mapped, as a corpus is; an epoch is 8 steps, the last one smaller."""
    tokens = np.random.default_rng(0).integers(0, 60_000, size=300, dtype=dtype)
    np.save(path, tokens)
    stream = np.load(path, mmap_mode="r")
    windows = Windows(stream, [(0, 130), (140, 300)], 12, objective=objective)
    return BatchSampler(windows, 40, seed=3, row_range=RowRange.all(48))


@pytest.mark.parametrize("objective", ["last", "every"])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_both_ways_give_the_same_batches(tmp_path: Path, objective: Objective, dtype: type) -> None:
    sampler = make_sampler(tmp_path / "tokens.npy", objective, dtype)
    mesh = make_mesh(1)
    devices = make_loader(sampler, mesh, RunConfig(steps_per_dispatch=5), step=2, last_step=20)
    host = make_loader(sampler, mesh, RunConfig(device_corpus_mib=0), step=2, last_step=20)
    assert isinstance(devices, DeviceLoader) and isinstance(host, HostLoader)
    assert (devices.capacity, host.capacity) == (MAX_STEPS_PER_DISPATCH, 1)
    cut = jax.jit(lambda batches, number: batch_at(batches, number, window=12, objective=objective))
    step = 2
    for count in (5, 1, 3, 5, 4):  # over the ends of two epochs
        several = devices.take(step, count)
        assert isinstance(several, CorpusBatches)
        for number in range(count):
            one = host.take(step, 1)
            expected = sampler.batch(step)
            for batch in (cut(several, number), cut(one, 0)):
                leaves = jax.tree.leaves(batch), jax.tree.leaves(expected)
                for found, wanted in zip(*leaves, strict=True):
                    assert found.dtype == jnp.dtype(wanted.dtype)
                    np.testing.assert_array_equal(found, wanted)
            step += 1
    assert step == 20
    host.close()
    devices.close()


def test_the_budget_decides(tmp_path: Path) -> None:
    sampler = make_sampler(tmp_path / "tokens.npy", "last")
    size = sampler.windows.tokens.nbytes / 2**20
    for budget, kind in ((size, DeviceLoader), (size * 0.99, HostLoader), (0.0, HostLoader)):
        run = RunConfig(device_corpus_mib=budget)
        loader = make_loader(sampler, make_mesh(1), run, step=0, last_step=1)
        assert type(loader) is kind
        loader.close()


def test_what_is_sent_for_a_step_is_small(tmp_path: Path) -> None:
    """Places and weights alone, however long the windows are."""
    sampler = make_sampler(tmp_path / "tokens.npy", "every")
    batches = DeviceLoader(sampler, make_mesh(1), capacity=3).take(0, 2)
    assert batches.starts.shape == batches.weights.shape == (3, 48)
    assert not np.asarray(batches.weights[2]).any()  # beyond the steps asked for
    batch = HostLoader(sampler, make_mesh(1), step=0, last_step=5).take(0, 1)
    assert isinstance(batch, Batch) and batch.inputs.shape == (1, 48, 12)
