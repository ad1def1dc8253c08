"""The mesh over all devices, and arrays that are sharded over it or replicated on it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmusic.config import BATCH_AXIS, ConfigError
from jaxmusic.distributed.devices import find_devices
from jaxmusic.distributed.row_range import RowRange

PyTree = Any


def make_mesh(devices: int | None = None) -> Mesh:
    """Make a mesh with one axis, `batch`, over all devices, or the first `devices` of each process.

    The devices of a process are adjacent, and so are its rows of a batch.

    Raises ConfigError when a process has fewer devices.
    """
    available = sorted(find_devices(), key=lambda device: (device.process_index, device.id))
    by_process = [
        [device for device in available if device.process_index == process]
        for process in range(jax.process_count())
    ]
    fewest = min(map(len, by_process))
    if devices is not None and devices > fewest:
        kind = available[0].device_kind
        raise ConfigError(
            f"--devices {devices}: there are {fewest} here ({kind}); give that or fewer."
        )
    chosen = [device for of_process in by_process for device in of_process[: devices or fewest]]
    return Mesh(np.array(chosen), (BATCH_AXIS,))


def local_rows(batch_size: int, mesh: Mesh) -> RowRange:
    """This process's rows of a batch, which is padded to a multiple of the number of devices."""
    rows = -(-batch_size // mesh.size) * mesh.size
    here = rows // jax.process_count()
    return RowRange(rows, jax.process_index() * here, (jax.process_index() + 1) * here)


def row_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Shard rows, which are along `axis`, over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, BATCH_AXIS))


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Replicate on each device."""
    return NamedSharding(mesh, PartitionSpec())


def shard_rows(local: PyTree, mesh: Mesh, axis: int = 0) -> PyTree:
    """Make arrays sharded over all devices from this process's rows."""
    sharding = row_sharding(mesh, axis)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), local)


def replicate(whole: PyTree, mesh: Mesh) -> PyTree:
    """Copy arrays, equal in all processes, to each device."""
    sharding = replicated_sharding(mesh)
    return jax.tree.map(
        lambda array: jax.make_array_from_callback(
            np.shape(array), sharding, lambda _: np.asarray(array)
        ),
        whole,
    )
