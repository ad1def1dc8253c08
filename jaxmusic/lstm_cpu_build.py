"""The compiled half of the CPU kernel: lstm_cpu.cc, built for this machine and loaded.

It is compiled when first used, with the machine's own C++ compiler, and kept in the user's cache
folder for later starts.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
from jaxlib import version as jaxlib_version

from jaxmusic.compilation import cache_folder

SOURCES = ("lstm_cpu.cc", "lstm_cpu_cell.h", "lstm_cpu_memory.h", "lstm_cpu_products.h")
OPTIONS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread")
TARGETS = tuple(
    f"jaxmusic_lstm_{direction}_{precision}"
    for direction in ("forward", "backward")
    for precision in ("f32", "bf16")
)
COMPILING_TAKES_AT_MOST = 300  # seconds


@functools.cache
def why_unavailable() -> str | None:
    """Why this machine can't run the kernel, in a few words.

    None when it can: it is compiled by then, and XLA knows the functions in TARGETS.
    """
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None:
        return "no C++ compiler (c++, g++ or clang++) is installed"
    folder = Path(__file__).parent
    try:
        library = ctypes.CDLL(str(_build(compiler.split(), [folder / name for name in SOURCES])))
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line] or ["no message"]
        return f"{compiler} can't compile it: {lines[0].strip()}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it can't be compiled with {compiler}, or loaded: {error}"
    for name in TARGETS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return None


def _build(compiler: list[str], sources: list[Path]) -> Path:
    """The compiled library: of these sources, for this processor, by this compiler."""
    machine = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    command = [*compiler, *OPTIONS, machine, "-isystem", jax.ffi.include_dir()]
    what = hashlib.sha256()
    for source in sources:
        what.update(source.read_bytes())
    version = subprocess.run(
        [*compiler, "--version"], capture_output=True, check=True, text=True
    ).stdout
    for part in (
        " ".join(command).encode(),
        version.encode(),
        jaxlib_version.__version__.encode(),
        _processor(),
    ):
        what.update(part)
    folder = cache_folder("lstm") or Path(tempfile.mkdtemp(prefix="jaxmusic-"))
    built = folder / f"lstm_cpu-{what.hexdigest()[:16]}.so"
    if not built.exists():
        # Several processes may do this at once: each compiles beside it, and the last one stays.
        beside = folder / f".{built.name}.{os.getpid()}"
        try:
            subprocess.run(
                [*command, str(sources[0]), "-o", str(beside)],
                capture_output=True,
                check=True,
                text=True,
                timeout=COMPILING_TAKES_AT_MOST,
            )
            beside.replace(built)
        finally:
            beside.unlink(missing_ok=True)
    return built


def _processor() -> bytes:
    """What tells one kind of processor from another: a home folder may serve many machines."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    about = (b"model name", b"flags", b"CPU part", b"Features")
    return b"\n".join(sorted({line for line in lines if line.startswith(about)}))
