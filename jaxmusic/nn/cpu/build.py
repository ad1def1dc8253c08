"""Compiles and loads the C++ of the CPU kernel, for this machine.

That happens when the kernel is first used, with the machine's own C++ compiler. The library is kept
in the user's cache folder for later starts, where that is private to the user.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import jax
from jaxlib import version as jaxlib_version

from jaxmusic.storage.private_cache import open_cache
from jaxmusic.storage.private_folder import temporary_folder

FOLDER = Path(__file__).parent
MAIN_SOURCE = "csrc/lstm.cc"
HEADERS = (
    "backward.h", "cell.h", "forward.h", "panels.h", "products.h", "scratch.h", "threads.h",
    "weight_gradients.h",
)  # fmt: skip
SOURCES = (MAIN_SOURCE, *(f"csrc/{name}" for name in HEADERS))
# No strict aliasing: pairs of bfloat16 are written into the memory that vectors of floats are read
# from.
OPTIONS = ("-std=c++17", "-O3", "-fno-strict-aliasing", "-fPIC", "-shared", "-pthread")
TARGETS = tuple(
    f"jaxmusic_lstm_{direction}_{precision}"
    for direction in ("forward", "backward")
    for precision in ("f32", "bf16")
)
COMPILE_TIMEOUT = 300  # seconds


@functools.cache
def why_unavailable() -> str | None:
    """Why this machine can't run the kernel, in a few words.

    None when it can: it is compiled by then, and XLA knows the functions in TARGETS.
    """
    compiler = _compiler()
    if compiler is None:
        return "no C++ compiler (c++, g++ or clang++) is installed"
    try:
        library = _loaded(_built(compiler))
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line] or ["no message"]
        return f"{compiler} can't compile it: {lines[0].strip()}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it can't be compiled with {compiler}, or loaded: {error}"
    for name in TARGETS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return None


@functools.cache
def build_key() -> str:
    """The name of the library, with a digest of all that its bits depend on here.

    That is its sources, the processor, the compiler, and the headers of jaxlib.
    """
    compiler = _compiler() or ""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((FOLDER / name).read_bytes())
    version = subprocess.run(
        [*compiler.split(), "--version"], capture_output=True, check=True, text=True
    ).stdout
    for part in (
        " ".join(_command(compiler)).encode(),
        version.encode(),
        jaxlib_version.__version__.encode(),
        _processor(),
    ):
        digest.update(part)
    return f"lstm_cpu-{digest.hexdigest()[:16]}"


def processor() -> str:
    """The model of this machine's processor, and a digest of its features."""
    about = _processor()
    models = [line for line in about.decode(errors="replace").splitlines() if "model name" in line]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{model} ({hashlib.sha256(about).hexdigest()[:8]})"


def _compiler() -> str | None:
    return os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)


def _command(compiler: str) -> list[str]:
    machine = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    return [*compiler.split(), *OPTIONS, machine, "-isystem", jax.ffi.include_dir()]


def _built(compiler: str) -> bytes:
    """The library compiled from these sources, for this processor, by this compiler."""
    key = build_key()
    cache = open_cache("lstm")
    library = cache.get(key) if cache is not None else None
    if library is None:
        # Several processes may do this at once: each compiles for itself and writes the same file.
        library = _compiled(_command(compiler), FOLDER / MAIN_SOURCE)
        if cache is not None:
            cache.put(key, library)
    return library


def _compiled(command: list[str], source: Path) -> bytes:
    with temporary_folder() as folder:
        library = folder / "lstm_cpu.so"
        subprocess.run(
            [*command, str(source), "-o", str(library)],
            env={**os.environ, "TMPDIR": str(folder)},  # the compiler's own files go with it
            capture_output=True,
            check=True,
            text=True,
            timeout=COMPILE_TIMEOUT,
        )
        return library.read_bytes()


def _loaded(library: bytes) -> ctypes.CDLL:
    """Load exactly these bytes, not a file that could change, or be cut off, while it is in use."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # no /proc, or not allowed: a file will do
            # Never closed: the loader knows libraries by their paths, and this one is the number.
            descriptor = os.memfd_create("lstm_cpu.so")
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(library)
            return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    with temporary_folder() as folder:
        path = folder / "lstm_cpu.so"
        path.write_bytes(library)
        return ctypes.CDLL(str(path))


def _processor() -> bytes:
    """The model and features of the processor: one home folder may serve many machines."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    about = (b"model name", b"flags", b"CPU part", b"Features")
    return b"\n".join(sorted({line for line in lines if line.startswith(about)}))
