"""Identifies the code that runs: versions of numerical packages, a digest of our sources."""

import functools
import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

PACKAGES = ("jaxmusic", "jax", "jaxlib", "flax", "optax", "numpy")
SUFFIXES = (".py", ".cc", ".h")


def package_versions() -> dict[str, str]:
    """Version of each of PACKAGES by name; "not installed" for one run from its sources."""
    return {package: _version(package) for package in PACKAGES}


@functools.cache
def sources_digest(folder: Path = Path(__file__).parents[1]) -> str:
    """Digest (16 hexadecimal digits) of the names and bytes of the package's source files.

    A version alone doesn't identify a checkout.
    """
    files = [path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file()]
    return files_digest([path.relative_to(folder).as_posix() for path in files], folder)


def files_digest(names: Iterable[str], folder: Path = Path(__file__).parents[1]) -> str:
    """Digest (16 hexadecimal digits) of the names and bytes of some of the package's files."""
    digest = hashlib.sha256()
    for name in sorted(names):
        path = folder / name
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
