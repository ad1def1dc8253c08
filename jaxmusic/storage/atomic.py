"""Files that appear whole or not at all, and what is said when they can't be written."""

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
_ABANDONED_SECONDS = 24 * 3600.0  # no file takes so long to write


class WriteError(UserError):
    """A file can't be written: no room, not allowed, or its folder is gone."""


def why_not_written(path: str | os.PathLike[str], error: OSError) -> str:
    """One sentence: the file, the system's reason and what to do."""
    if error.errno in _NO_ROOM:
        remedy = "make room"
    elif error.errno in _REFUSED:
        remedy = "make its folder writable"
    elif error.errno in _IN_PLACE:
        remedy = "move away what is in its place"
    else:
        remedy = "mend its folder"
    return (
        f"{path} can't be written: {error.strerror or error}. What was saved before is kept: "
        f"{remedy} and start the same command again."
    )


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Inside, a file or folder is written. Raises WriteError instead of OSError."""
    try:
        yield
    except OSError as error:
        raise WriteError(why_not_written(path, error)) from error


def write_atomic(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file beside its place and rename it there: a stop leaves the old one or the new.

    So does a power cut. Text is written as UTF-8. A link at `path` is replaced, not followed.
    Raises WriteError; then nothing has changed.
    """
    target = Path(path)
    # Nobody can guess the name, and so nobody can have put a link there. It doesn't grow with the
    # target's name, which may be as long as the file system allows.
    temporary = target.with_name(f".jaxmusic-{os.urandom(8).hex()}.partial")
    with writing(target):
        try:
            with temporary.open("xb") as file:  # O_CREAT | O_EXCL: it follows no link either
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
    """Whether `write_atomic` gives such names to its temporary files."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files of `write_atomic` that killed processes left a day ago or earlier.

    Younger ones may be another process's, at work. What can't be removed stays.
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
    """Open a file to be written in place: an `opener` for Python's `open`. Made if not there.

    Raises OSError for a link, a pipe or a device there: nothing is written through one.
    """
    if os.path.islink(path):
        raise OSError(errno.EEXIST, "it is a link", os.fspath(path))
    # O_NOFOLLOW: one that was put there since. O_NONBLOCK: opening a pipe waits for its reader.
    flags |= os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EEXIST, "it is not a regular file", os.fspath(path))
    return descriptor


def refuse_link(path: Path) -> None:
    """Raise WriteError where a file or folder of ours is a link: it may lead to anybody's."""
    if path.is_symlink():
        raise WriteError(
            f"{path} is a link, and nothing is written through links there: remove it and start "
            "the same command again."
        )


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or which files a folder has."""
    if os.name == "nt":
        return  # Windows opens no folders, and syncs no file that is open for reading
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync(descriptor: int) -> None:
    """Have the disk hold a file or folder that is open, where the file system knows how."""
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems, and buckets mounted as folders, don't
        if error.errno not in _NO_SYNC:
            raise
