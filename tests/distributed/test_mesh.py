"""The mesh, and where arrays lie on it."""

import jax
import numpy as np
import pytest
from helpers.programs import EIGHT_DEVICES, run_apart

from jaxmusic.config import ConfigError
from jaxmusic.distributed.mesh import (
    local_rows,
    make_mesh,
    replicate,
    replicated_sharding,
    row_sharding,
    shard_rows,
)
from jaxmusic.distributed.row_range import RowRange


def test_a_mesh_of_this_machine() -> None:
    mesh = make_mesh()
    assert mesh.axis_names == ("batch",)
    assert mesh.size == len(jax.local_devices())
    with pytest.raises(ConfigError, match="--devices 1000"):
        make_mesh(1000)


def test_arrays_on_eight_devices() -> None:
    """In a process of its own: with one device all shardings are the same."""
    program = "from distributed.test_mesh import check_arrays; check_arrays()"
    run_apart("-c", program, environment={"JAX_PLATFORMS": "cpu", **EIGHT_DEVICES})


def check_arrays() -> None:
    mesh = make_mesh()
    assert mesh.size == 8
    assert [device.id for device in mesh.devices] == list(range(8))
    assert make_mesh(3).size == 3

    table = np.arange(32).reshape(16, 2)
    rows = shard_rows({"a": table}, mesh)["a"]
    assert rows.shape == (16, 2) and rows.sharding == row_sharding(mesh)
    for number, shard in enumerate(rows.addressable_shards):
        assert shard.device == mesh.devices[number]
        np.testing.assert_array_equal(shard.data, table[2 * number : 2 * number + 2])

    steps = np.arange(48).reshape(2, 24)
    by_step = shard_rows(steps, mesh, axis=1)
    for number, shard in enumerate(by_step.addressable_shards):
        np.testing.assert_array_equal(shard.data, steps[:, 3 * number : 3 * number + 3])

    whole = replicate((np.arange(3), np.float32(2)), mesh)
    for array, expected in zip(whole, (np.arange(3), np.float32(2)), strict=True):
        assert array.sharding == replicated_sharding(mesh)
        assert len(array.addressable_shards) == 8
        for shard in array.addressable_shards:
            np.testing.assert_array_equal(shard.data, expected)


@pytest.mark.parametrize(
    ("devices", "batch", "rows"), [(1, 117, 117), (8, 128, 128), (8, 26, 32), (8, 1, 8)]
)
def test_batches_are_filled_up_to_the_devices(devices: int, batch: int, rows: int) -> None:
    mesh = jax.sharding.Mesh(np.array([jax.devices()[0]] * devices), ("batch",))
    assert local_rows(batch, mesh) == RowRange(rows, 0, rows)


@pytest.mark.parametrize(("index", "start", "stop"), [(0, 0, 16), (1, 16, 32)])
def test_each_process_has_its_own_rows(
    monkeypatch: pytest.MonkeyPatch, index: int, start: int, stop: int
) -> None:
    mesh = jax.sharding.Mesh(np.array([jax.devices()[0]] * 8), ("batch",))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: index)
    assert local_rows(26, mesh) == RowRange(32, start, stop)
