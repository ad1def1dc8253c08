"""Compiled programs, kept from one start to the next."""

import os
from pathlib import Path

import jax


def cache_folder(name: str) -> Path | None:
    """A folder of the user's cache for programs; None where none can be made.

    What lies there is run as code: the folder is the user's alone.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxmusic" / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX was given a place for them."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        cache = cache_folder("xla")
        if cache is not None:  # without one, compiling takes its time at each start
            jax.config.update("jax_compilation_cache_dir", str(cache))
