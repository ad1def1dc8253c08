"""A cache of compiled XLA programs, kept between starts."""

import jax
from jax._src import compilation_cache as jax_cache  # (JAX has no public name for other caches)
from jax._src.compilation_cache_interface import CacheInterface

from jaxmusic.storage.private_cache import PrivateCache, open_cache


class VerifiedCache(CacheInterface):
    """JAX's cache of compiled programs, kept in a PrivateCache.

    JAX's own cache verifies no digest: it warns of a damaged entry at each start, and never
    replaces it.
    """

    def __init__(self, entries: PrivateCache) -> None:
        self._entries = entries
        self._path = entries.folder

    def get(self, key: str) -> bytes | None:
        """The program of a key; None: JAX then compiles and puts it."""
        return self._entries.get(key)

    def put(self, key: str, value: bytes) -> None:
        """Store a program."""
        self._entries.put(key, value)


def use_compilation_cache() -> None:
    """Cache compiled programs in the user's cache folder, unless JAX has a folder set."""
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    entries = open_cache("xla")
    if entries is None:  # programs compile at each start
        return
    cache, folder = VerifiedCache(entries), str(entries.folder)
    makes_others = jax_cache.get_file_cache

    def get_file_cache(path: str) -> tuple[CacheInterface, str] | None:
        return (cache, path) if path == folder else makes_others(path)

    jax_cache.get_file_cache = get_file_cache
    jax.config.update("jax_compilation_cache_dir", folder)
