"""Devices: the mesh over them, and how arrays lie on it."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmusic.config import ConfigError


def make_mesh(devices: int | None = None) -> Mesh:
    """A mesh with the one axis `batch` over this process's devices, or the first few of them.

    Raises ConfigError when there are fewer than asked for.
    """
    available = jax.local_devices()
    if devices is not None and devices > len(available):
        kind = available[0].device_kind
        raise ConfigError(
            f"--devices {devices}: there are {len(available)} here ({kind}); give that or fewer."
        )
    return Mesh(np.array(available[:devices]), ("batch",))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Each device has its own rows of the first axis."""
    return NamedSharding(mesh, PartitionSpec("batch"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Each device has all of it."""
    return NamedSharding(mesh, PartitionSpec())


def padded_rows(batch_size: int, mesh: Mesh) -> int:
    """The batch size, raised to a multiple of the devices."""
    return -(-batch_size // mesh.size) * mesh.size
