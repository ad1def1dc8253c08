"""JAX's devices, or a sentence on why there are none."""

from typing import Any

import jax

from jaxmusic.config import ConfigError
from jaxmusic.runtime.printable import printable

# JAX appends this to its message.
JAX_HINT = "(set JAX_PLATFORMS='' to automatically choose an available backend)"


def find_devices() -> list[jax.Device]:
    """Return the devices of all processes; initializes JAX if necessary.

    Raises ConfigError if that fails, for example for an unavailable platform in JAX_PLATFORMS.
    """
    try:
        return jax.devices()
    # A RuntimeError, or a bare AssertionError where CUDA isn't installed.
    except Exception as error:
        words = printable(str(error).split("\n", maxsplit=1)[0].removesuffix(JAX_HINT).rstrip(". "))
        reason = words or "no such device is here, or JAX was installed without support for it"
        if platforms := requested_platforms():
            message = (
                f"JAX can't use the platforms asked for, JAX_PLATFORMS={printable(platforms)}: "
                f"{reason}. Unset it to take what is here, or install what is missing."
            )
        else:
            message = (
                f"JAX can't start on the devices here: {reason}. JAX_PLATFORMS=cpu does without "
                "them."
            )
        raise ConfigError(message) from error


def requested_platforms() -> str | None:
    """The platforms requested by JAX_PLATFORMS or by the program."""
    platforms: str | None = jax.config.jax_platforms  # type: ignore[attr-defined]
    return platforms


def local_devices() -> dict[str, Any]:
    """Number and kinds of this process's devices, by the names used in messages."""
    find_devices()
    here = jax.local_devices()
    kinds = ", ".join(sorted({device.device_kind for device in here}))
    return {"the number of devices": len(here), "the kind of devices": kinds}
