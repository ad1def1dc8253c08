"""Keeps the memory of a training step on CPUs for the next step."""

import ctypes
import platform

# glibc's names and numbers for `mallopt` (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Make glibc's allocator keep freed memory. Does nothing with another allocator.

    XLA allocates hundreds of megabytes anew at each step. If the system gets them back in between,
    it has to map them and fill them with zeros again. The price: the process stays at its peak
    size.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)  # mapped blocks go back to the system as soon as they are freed
    libc.mallopt(M_ARENA_MAX, 1)  # arenas of threads can't hold large blocks
    libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
