"""The mesh, and what lies on it."""

import jax
import numpy as np
import pytest

from jaxmusic.config import ConfigError
from jaxmusic.distributed.mesh import local_rows, make_mesh, replicate, shard_rows
from jaxmusic.distributed.row_range import RowRange


def test_a_mesh_of_this_machine() -> None:
    mesh = make_mesh()
    assert mesh.axis_names == ("batch",)
    assert mesh.size == len(jax.local_devices())
    with pytest.raises(ConfigError, match="--devices 1000"):
        make_mesh(1000)


def test_arrays_lie_as_asked() -> None:
    mesh = make_mesh(1)
    rows = shard_rows({"a": np.ones((4, 2))}, mesh)["a"]
    assert rows.sharding.shard_shape(rows.shape) == (4, 2)
    steps = shard_rows(np.arange(6).reshape(2, 3), mesh, axis=1)
    assert steps.sharding.spec == jax.sharding.PartitionSpec(None, "batch")
    np.testing.assert_array_equal(steps, np.arange(6).reshape(2, 3))
    whole = replicate((np.arange(3), np.float32(2)), mesh)
    assert all(array.is_fully_replicated for array in whole)
    np.testing.assert_array_equal(whole[0], np.arange(3))


@pytest.mark.parametrize(
    ("devices", "batch", "rows"), [(1, 117, 117), (8, 128, 128), (8, 26, 32), (8, 1, 8)]
)
def test_batches_are_filled_up_to_the_devices(devices: int, batch: int, rows: int) -> None:
    mesh = jax.sharding.Mesh(np.array([jax.devices()[0]] * devices), ("batch",))
    assert local_rows(batch, mesh) == RowRange(rows, 0, rows)
