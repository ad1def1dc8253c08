"""What the system lets a program have, seen before libraries that can't do with less are imported.

Below the minimum, libraries end the process, write a stack trace or never come back from their
import. Nothing here imports more than the standard library.
"""

import os
import sys
from dataclasses import dataclass

from jaxmusic.errors import UserError

if sys.platform != "win32":
    import resource

MIB = 2**20


class LimitError(UserError):
    """The process may have less than the program needs."""


@dataclass(frozen=True)
class Minimum:
    """What a kind of program needs at least, as docs/reliability.md has it from measurements.

    XLA starts threads for each core, and each reserves addresses for its stack.
    """

    address_space: int  # MiB
    address_space_per_core: int  # MiB
    data: int  # MiB of memory that can be written to
    open_files: int


PREPARING = Minimum(address_space=256, address_space_per_core=0, data=128, open_files=32)
GENERATING = Minimum(address_space=1200, address_space_per_core=30, data=500, open_files=32)
TRAINING = Minimum(address_space=1500, address_space_per_core=30, data=800, open_files=64)


def check_limits(minimum: Minimum) -> None:
    """Raise the soft limits of this process to the minimum, and more where memory is concerned.

    Raises LimitError where the hard limits don't allow it.
    """
    if sys.platform == "win32":
        return
    memory = minimum.address_space + minimum.address_space_per_core * _cores()
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        # NumPy's OpenBLAS would reserve 40 MiB for each core; little that we do multiplies there.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _allow("of address space", "-v", resource.RLIMIT_AS, memory * MIB)
    _allow("of memory for data", "-d", resource.RLIMIT_DATA, minimum.data * MIB)
    _allow("open files", "-n", resource.RLIMIT_NOFILE, minimum.open_files)


def _allow(what: str, flag: str, number: int, needed: int) -> None:
    soft, hard = resource.getrlimit(number)
    if _suffices(soft, needed):
        return
    if not _suffices(hard, needed):
        is_memory = number != resource.RLIMIT_NOFILE
        has, needs = (f"{n / MIB:,.0f} MiB" if is_memory else n for n in (soft, needed))
        value = needed // 1024 if is_memory else needed
        raise LimitError(
            f"The system limits this process to {has} {what}, but it needs {needs}: start it "
            f"where `ulimit {flag}` is {value} or more."
        )
    # (Some systems refuse to have as many open files as the hard limit says.)
    wanted = needed if number == resource.RLIMIT_NOFILE else hard
    resource.setrlimit(number, (wanted, hard))


def _suffices(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
