"""Memory that XLA takes for a step on CPUs, kept for the next one."""

import ctypes
import platform

# glibc's names and numbers for `mallopt` (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Have the allocator keep what is freed, where that is glibc's; elsewhere nothing is done.

    XLA allocates a step's memory anew at each step, hundreds of megabytes of it. Given back to
    the system in between, it has to be faulted in and filled with zeros again each time. The
    price is that the process stays as large as its largest moment.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)  # mapped blocks go back to the system as soon as they are freed
    libc.mallopt(M_ARENA_MAX, 1)  # arenas of threads can't hold large blocks
    libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
