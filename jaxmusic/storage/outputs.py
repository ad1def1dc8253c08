"""Output files named by a flag: --out, --json, --plot."""

import contextlib
import os
import stat
import sys
from typing import TextIO

from jaxmusic.errors import UserError
from jaxmusic.storage.atomic import WriteError, write_atomic, writing

AnyPath = str | os.PathLike[str]


class OutputError(UserError):
    """A flag names a path that no file can be written to."""

    exit_code = 2


def check_output(flag: str, path: AnyPath) -> None:
    """Raise OutputError if no file can be written to a flag's path. Opens and makes nothing.

    For commands that write at their end.
    """
    if flaw := _flaw(path):
        raise OutputError(f"{flag} {path} {flaw}: give a file.")


def write_output(path: AnyPath, content: bytes | str) -> None:
    """Write a file, whole or not at all; text as UTF-8.

    Follows links. Writes to pipes and character devices, and never replaces them. Raises
    WriteError; then no file has changed.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    if flaw := _flaw(path):
        raise WriteError(f"{path} {flaw}: give a file.")
    if (stream := standard_stream(path)) is not None:
        # Opened again, a file would be overwritten from its start, and a socket can't be opened.
        # Not through the stream: printed lines may be lost, but not what the user asked for.
        with writing(path), os.fdopen(stream.fileno(), "wb", closefd=False) as file:
            stream.flush()
            file.write(data)
    elif is_special(path):
        with writing(path), os.fdopen(os.open(path, os.O_WRONLY), "wb") as file:
            file.write(data)
    else:
        write_atomic(os.path.realpath(path), data)


def is_special(path: AnyPath) -> bool:
    """Whether a path leads to something that is not a regular file."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def standard_stream(path: AnyPath) -> TextIO | None:
    """Standard output or error, if a path leads to it, as /dev/stdout does."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            if os.path.samestat(os.stat(path), os.fstat(stream.fileno())):
                return stream
    return None


def _flaw(path: AnyPath) -> str:
    """Why no file can be written to a path; empty if one can."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        if os.path.islink(path):
            return f"is a link to {os.readlink(path)}, which does not exist"
        return ""  # a new file; the writer reports if it can't be made
    if stat.S_ISDIR(mode):
        return "is a folder"
    if stat.S_ISBLK(mode):
        return "is a disk"
    if stat.S_ISSOCK(mode) and standard_stream(path) is None:
        return "is a socket"
    return ""
