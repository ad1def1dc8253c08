"""The devices that a program is traced for: their platform, and each one's rows of a batch."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from jaxmusic.config import BATCH_AXIS

GPU_UNROLL = 6  # not measured


def current_platform() -> str:
    """The platform of the mesh that `jax.set_mesh` has set: cpu, gpu or tpu.

    Without a mesh, that of `jax_default_device`, else of JAX's default backend. On a machine with a
    GPU, the mesh may be one of CPUs.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is not None:
        return str(device.platform)
    default = jax.config.jax_default_device  # type: ignore[attr-defined]
    if default is not None:
        return default if isinstance(default, str) else str(default.platform)
    return str(jax.default_backend())


def batch_devices() -> int:
    """Devices of the mesh that `jax.set_mesh` has set which divide a batch; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return int(mesh.shape[BATCH_AXIS]) if BATCH_AXIS in mesh.axis_names else 1


def loop_unroll() -> int:
    """How many steps of time one turn of a compiled loop does.

    On a GPU a step is a few short programs, which the host starts; what belongs to one turn of a
    loop goes out together. Elsewhere more than one step gains nothing and takes longer to compile.
    """
    return GPU_UNROLL if current_platform() == "gpu" else 1


def over_devices(
    function: Callable[..., Any], arguments: Iterable[str], results: Iterable[str], *, divided: str
) -> Callable[..., Any]:
    """The function, run by each device of the mesh that `jax.set_mesh` has set on its own rows.

    `arguments` and `results` are the axes of its arrays, a letter each; those in `divided` are
    divided over the devices. For functions that the compiler can't look into to divide them.
    """
    if BATCH_AXIS not in jax.sharding.get_abstract_mesh().auto_axes:
        return function

    def specs(arrays: Iterable[str]) -> tuple[PartitionSpec, ...]:
        return tuple(
            PartitionSpec(*(BATCH_AXIS if axis in divided else None for axis in axes))
            for axes in arrays
        )

    mapped: Callable[..., Any] = jax.shard_map(
        function,
        in_specs=specs(arguments),
        out_specs=specs(results),
        check_vma=False,  # which neither Pallas's interpreter passes nor an empty array
    )
    return mapped
