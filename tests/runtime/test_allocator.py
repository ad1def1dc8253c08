"""Memory kept from one step to the next."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
if sys.argv[1] == "keep":
    from jaxmusic.runtime.allocator import keep_freed_memory
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for _ in range(5):
    block = libc.malloc(ctypes.c_size_t(64 << 20))
    ctypes.memset(block, 1, 64 << 20)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    libc.free(ctypes.c_void_p(block))
    block = libc.malloc(ctypes.c_size_t(64 << 20))
    ctypes.memset(block, 1, 64 << 20)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    libc.free(ctypes.c_void_p(block))
print(faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is no glibc here")
def test_what_is_freed_is_not_faulted_in_again() -> None:
    faults = {
        way: int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, check=True
            ).stdout
        )
        for way in ("keep", "plain")
    }
    assert faults["keep"] < 100 < faults["plain"]
