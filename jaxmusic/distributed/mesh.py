"""Devices: the mesh over them, and how arrays lie on it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmusic.config import BATCH_AXIS, ConfigError
from jaxmusic.distributed.devices import find_devices
from jaxmusic.distributed.row_range import RowRange

PyTree = Any


def make_mesh(devices: int | None = None) -> Mesh:
    """A mesh with the one axis `batch` over all processes' devices, or the first few of each.

    The devices of a process follow each other: so do its rows of a batch.

    Raises ConfigError when a process has fewer than asked for.
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
    """This process's rows of a batch, whose size is raised to a multiple of the devices."""
    rows = -(-batch_size // mesh.size) * mesh.size
    here = rows // jax.process_count()
    return RowRange(rows, jax.process_index() * here, (jax.process_index() + 1) * here)


def row_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Each device has its own rows, which are counted by the axis of that number."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, BATCH_AXIS))


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Each device has all of it."""
    return NamedSharding(mesh, PartitionSpec())


def shard_rows(local: PyTree, mesh: Mesh, axis: int = 0) -> PyTree:
    """Arrays over all devices, of which each process gives its own rows."""
    sharding = row_sharding(mesh, axis)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), local)


def replicate(whole: PyTree, mesh: Mesh) -> PyTree:
    """Arrays of which each device has all; every process gives the same."""
    sharding = replicated_sharding(mesh)
    return jax.tree.map(
        lambda array: jax.make_array_from_callback(
            np.shape(array), sharding, lambda _: np.asarray(array)
        ),
        whole,
    )
