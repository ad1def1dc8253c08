"""The TPU compiler, set up before JAX and libtpu start to work without a TPU."""

import os
import platform
from importlib.util import find_spec

from jaxmusic.errors import UserError

# libtpu looks for a TPU and for other processes that use one; this says that there are none.
# JAX itself runs on the CPU, on a machine that has TPUs too: their owner may be at work.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


class CompilerError(UserError):
    """The compiler for TPUs can't be had, or can't compile the program."""


def prepare_environment() -> None:
    """Set what JAX and libtpu read when they start; call it before JAX is imported.

    Raises CompilerError where libtpu is missing.
    """
    if find_spec("libtpu") is None:
        system = f"{platform.system()} {platform.machine()}"
        here = "" if system == "Linux x86_64" else f" (this is {system})"
        raise CompilerError(
            "The compiler for TPUs, libtpu, is not installed: pip install -e '.[tpu]' brings it, "
            f"on Linux x86-64{here}."
        )
    os.environ.update(ENVIRONMENT)
