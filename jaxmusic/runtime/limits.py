"""Checks the system's limits on memory and open files, before heavy libraries are imported.

Below the minimum, libraries end the process, print a stack trace or hang in their import. This
module imports the standard library only.
"""

import os
import sys
from dataclasses import dataclass

from jaxmusic.errors import UserError

if sys.platform != "win32":
    import resource

MIB = 2**20


class LimitError(UserError):
    """The system grants less than the program needs."""


@dataclass(frozen=True)
class Minimum:
    """The least that a kind of program needs, as measured in docs/reliability.md."""

    address_space: int  # MiB
    data: int  # MiB of writable memory
    per_core: int  # MiB more of both: XLA starts threads for each core, each with a stack
    open_files: int


PREPARING = Minimum(address_space=256, data=128, per_core=0, open_files=32)
GENERATING = Minimum(address_space=840, data=500, per_core=30, open_files=32)
TRAINING = Minimum(address_space=1150, data=700, per_core=30, open_files=64)


def check_limits(minimum: Minimum) -> None:
    """Raise the soft limits of this process to the minimum; of memory, to the hard limits.

    Raises LimitError when a hard limit is below the minimum.
    """
    if sys.platform == "win32":
        return
    for_threads = minimum.per_core * available_cores()
    memory = resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_DATA)
    if any(soft != resource.RLIM_INFINITY for soft, _ in memory):
        # NumPy's OpenBLAS would reserve 40 MiB for each core, for few products of ours, and the
        # allocator 64 MiB or more for each thread.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from jaxmusic.runtime.allocator import keep_freed_memory  # noqa: PLC0415 (few have such a limit)

        keep_freed_memory()
    _allow(
        "of address space", "-v", resource.RLIMIT_AS, (minimum.address_space + for_threads) * MIB
    )
    _allow("of memory for data", "-d", resource.RLIMIT_DATA, (minimum.data + for_threads) * MIB)
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
    # (Some systems refuse as many open files as their hard limit.)
    wanted = needed if number == resource.RLIMIT_NOFILE else hard
    resource.setrlimit(number, (wanted, hard))


def _suffices(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed


def available_cores() -> int:
    """The cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
