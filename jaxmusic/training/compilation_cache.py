"""XLA's compiled programs, kept from one start to the next."""

import jax
from jax._src import compilation_cache as jax_cache  # (JAX has no public name for other caches)
from jax._src.compilation_cache_interface import CacheInterface

from jaxmusic.storage.private_cache import PrivateCache, open_cache


class VerifiedCache(CacheInterface):
    """JAX's cache of compiled programs, kept in a PrivateCache.

    JAX's own reads what is there without a digest, meets a damaged entry with a warning at each
    start, and never replaces it.
    """

    def __init__(self, entries: PrivateCache) -> None:
        self._entries = entries
        self._path = entries.folder

    def get(self, key: str) -> bytes | None:
        """The program of a key, or None: then JAX compiles it, and puts it here."""
        return self._entries.get(key)

    def put(self, key: str, value: bytes) -> None:
        """Keep a program."""
        self._entries.put(key, value)


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX was given a place for them."""
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    entries = open_cache("xla")
    if entries is None:  # compiling takes its time at each start
        return
    cache, folder = VerifiedCache(entries), str(entries.folder)
    makes_others = jax_cache.get_file_cache

    def get_file_cache(path: str) -> tuple[CacheInterface, str] | None:
        return (cache, path) if path == folder else makes_others(path)

    jax_cache.get_file_cache = get_file_cache
    jax.config.update("jax_compilation_cache_dir", folder)
