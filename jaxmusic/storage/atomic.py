"""Atomic writes: a file appears whole or not at all. One error for all that can't be written."""

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from jaxmusic.errors import UserError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
_IN_PLACE = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO}
_TEMPORARY = re.compile(r"\.jaxmusic-[0-9a-f]{16}\.partial")
_ABANDONED_SECONDS = 24 * 3600.0  # longer than any write takes


class WriteError(UserError):
    """A file can't be written: no room, not allowed, or its folder is gone."""


def why_not_written(path: str | os.PathLike[str], error: OSError) -> str:
    """One sentence: the file, the system's reason, and what to do."""
    if error.errno in _NO_ROOM:
        remedy = "make room"
    elif error.errno in _REFUSED:
        remedy = "make its folder writable"
    elif error.errno in _IN_PLACE:
        remedy = "move away what is in its place"
    else:
        remedy = "fix its folder"
    return (
        f"{path} can't be written: {error.strerror or error}. What was saved before is kept: "
        f"{remedy} and start the same command again."
    )


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise WriteError instead of OSError while a file or folder is written."""
    try:
        yield
    except OSError as error:
        raise WriteError(why_not_written(path, error)) from error


def write_atomic(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file under another name and rename it: a kill or a power cut leaves old or new.

    Text is written as UTF-8. A link at `path` is replaced, not followed. Raises WriteError; then
    nothing has changed.
    """
    target = Path(path)
    # Nobody can guess the name, so nobody can have put a link there. Its length doesn't depend on
    # the target's name, which may be as long as the file system allows.
    temporary = target.with_name(f".jaxmusic-{os.urandom(8).hex()}.partial")
    with writing(target):
        try:
            with temporary.open("xb") as file:  # O_CREAT | O_EXCL: follows no link either
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
                file.flush()
                fsync(file.fileno())
            temporary.replace(target)
            sync(target.parent)
        except BaseException:  # Ctrl-C too
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def is_temporary(name: str) -> bool:
    """Whether a name is that of a temporary file of `write_atomic`."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files of `write_atomic` that killed processes left a day ago or earlier.

    Younger ones may belong to a running process. Files that can't be removed stay.
    """
    oldest = time.time() - _ABANDONED_SECONDS
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name):
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_mtime < oldest:
                        os.unlink(entry.path)


def open_to_write(path: str | os.PathLike[str], flags: int) -> int:
    """An `opener` for Python's `open`: opens or makes a file to be written in place.

    Raises OSError for a link, a pipe or a device: nothing is written through one.
    """
    if os.path.islink(path):
        raise OSError(errno.EEXIST, "it is a link", os.fspath(path))
    # O_NOFOLLOW: a link put there since. O_NONBLOCK: opening a pipe would wait for its reader.
    flags |= os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EEXIST, "it is not a regular file", os.fspath(path))
    return descriptor


def refuse_link(path: Path) -> None:
    """Raise WriteError where a file or folder of ours is a link, which may lead anywhere."""
    if path.is_symlink():
        raise WriteError(
            f"{path} is a link, and links are not written through there: remove it and start "
            "the same command again."
        )


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of files, to disk."""
    if os.name == "nt":
        return  # Windows can't open folders, nor sync a file that is open for reading
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync(descriptor: int) -> None:
    """Flush an open file or folder to disk, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems and mounted buckets can't
        if error.errno not in _NO_SYNC:
            raise
