"""Compiled programs in the user's cache folder, kept from one start to the next.

They run as code. So nobody else may be able to write to the folder, and an entry without a right
digest isn't used.
"""

import contextlib
import functools
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from jaxmusic.errors import reason_of
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import fsync, sync
from jaxmusic.storage.private_folder import is_abandoned, locked, why_not_private

MAGIC = b"jaxmusic cache entry 1\n"
PARTIAL = ".partial-"  # prefix of entries that are being written


class PrivateCache:
    """Entries by key, one file each: MAGIC, the digest of key and content, the content.

    A damaged entry, or one of another key, counts as missing, and is replaced by the next `put`.
    """

    def __init__(self, folder: Path) -> None:
        """Open the cache in a private folder, and remove what killed processes left."""
        self.folder = folder
        for partial in folder.glob(f"{PARTIAL}*"):
            if is_abandoned(partial):
                with contextlib.suppress(OSError):
                    partial.unlink()

    def get(self, key: str) -> bytes | None:
        """The content that was put under a key, or None."""
        try:
            descriptor = os.open(self.folder / key, os.O_RDONLY | NO_LINKS_NO_WAITING)
            with os.fdopen(descriptor, "rb") as file:
                entry = file.read() if _is_trusted(os.fstat(descriptor)) else b""
        except OSError:
            return None
        head, content = entry[:HEAD_SIZE], entry[HEAD_SIZE:]
        return content if head == _head(key, content) else None

    def put(self, key: str, content: bytes) -> None:
        """Store content under a key; log once if that fails.

        Other processes see the old entry or the whole new one, also after a power cut.
        """
        try:
            descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=self.folder)
            partial = Path(name)
            try:
                with locked(partial):
                    with os.fdopen(descriptor, "wb") as file:
                        file.write(_head(key, content))
                        file.write(content)
                        file.flush()
                        fsync(file.fileno())
                    partial.replace(self.folder / key)
                sync(self.folder)
            except BaseException:  # Ctrl-C too: what is partial never stays
                partial.unlink(missing_ok=True)
                raise
        except OSError as error:
            _log_once(
                f"A compiled program can't be kept for the next start in {printable(self.folder)}: "
                f"{reason_of(error)}. Make room there, or name another folder with XDG_CACHE_HOME."
            )


NO_LINKS_NO_WAITING = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
HEAD_SIZE = len(MAGIC) + hashlib.sha256().digest_size


def _head(key: str, content: bytes) -> bytes:
    return MAGIC + hashlib.sha256(key.encode() + b"\n" + content).digest()


def _is_trusted(status: os.stat_result) -> bool:
    """A regular file of this user or of root (others' are older than the folder's mode)."""
    ours = sys.platform == "win32" or status.st_uid in (0, os.geteuid())
    return ours and stat.S_ISREG(status.st_mode)


def open_cache(name: str) -> PrivateCache | None:
    """The user's cache of one kind of programs; None, and a line on stderr, if it isn't safe."""
    try:
        folder = _cache_home() / "jaxmusic"
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        reason = _why_not_made(folder)
        if reason is None:  # so that no link of another user is followed
            folder /= name
            reason = _why_not_made(folder)
        if reason is None:
            return PrivateCache(folder)
    except OSError as error:
        name = f"{printable(error.filename)}: " if error.filename else ""
        reason = name + reason_of(error)
    _log_once(
        f"Compiled programs aren't kept for the next start: {reason}. Name a folder that only you "
        "can write to with XDG_CACHE_HOME."
    )
    return None


def _why_not_made(folder: Path) -> str | None:
    folder.mkdir(exist_ok=True, mode=0o700)
    return why_not_private(folder)


def _cache_home() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the XDG standard ignores relative paths
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:  # no HOME, and a user without an entry
        raise OSError("this user has no home folder") from error


@functools.cache
def _log_once(sentence: str) -> None:
    print(sentence, file=sys.stderr)
