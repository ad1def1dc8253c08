"""Compiled programs, kept from one start to the next."""

import os
from pathlib import Path

import jax


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX was given a place for them.

    What lies there is run as code: the folder is the user's alone.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = home / "jaxmusic" / "xla"
        try:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            return  # no home to keep it in: compiling takes its time at each start
        jax.config.update("jax_compilation_cache_dir", str(cache))
