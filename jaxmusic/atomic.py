"""Files that appear whole or not at all, and what is said when they can't be written."""

import contextlib
import errno
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from jaxmusic.errors import UserError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
_NO_FOLDER = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
_TEMPORARY = re.compile(r"\.(.+)\.partial")


class WriteError(UserError):
    """A file can't be written: no room, not allowed, or its folder is gone."""


def why_not_written(path: str | os.PathLike[str], error: OSError) -> str:
    """One sentence: the file, the system's reason and what to do."""
    if error.errno in _NO_ROOM:
        remedy = "make room"
    elif error.errno in _REFUSED:
        remedy = "make its folder writable"
    elif error.errno in _NO_FOLDER:
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

    So does a power cut. Text is written as UTF-8. Raises WriteError; then nothing has changed.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    with writing(target):
        try:
            with partial.open("wb") as file:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
                file.flush()
                fsync(file.fileno())
            partial.replace(target)
            sync(target.parent)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def is_temporary(name: str, of: Collection[str]) -> bool:
    """Whether a name is one under which `write_atomic` writes one of these files."""
    found = _TEMPORARY.fullmatch(name)
    return found is not None and found[1] in of


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
