"""The mesh."""

import jax
import numpy as np
import pytest

from jaxmusic.config import ConfigError
from jaxmusic.parallel import batch_sharding, make_mesh, padded_rows, replicated


def test_a_mesh_of_this_machine() -> None:
    mesh = make_mesh()
    assert mesh.axis_names == ("batch",)
    assert mesh.size == len(jax.local_devices())
    with pytest.raises(ConfigError, match="--devices 1000"):
        make_mesh(1000)


def test_arrays_lie_as_asked() -> None:
    mesh = make_mesh(1)
    rows = jax.device_put(np.zeros((4, 2)), batch_sharding(mesh))
    assert rows.sharding.shard_shape(rows.shape) == (4, 2)
    assert jax.device_put(np.zeros(3), replicated(mesh)).is_fully_replicated


@pytest.mark.parametrize(
    ("devices", "batch", "rows"), [(1, 117, 117), (8, 128, 128), (8, 26, 32), (8, 1, 8)]
)
def test_batches_are_filled_up_to_the_devices(devices: int, batch: int, rows: int) -> None:
    mesh = jax.sharding.Mesh(np.array([jax.devices()[0]] * devices), ("batch",))
    assert padded_rows(batch, mesh) == rows
