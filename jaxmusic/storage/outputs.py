"""Single files that the user names for a command to write: --out, --json, --plot."""

import contextlib
import os
import stat
import sys
from typing import TextIO

from jaxmusic.errors import UserError
from jaxmusic.storage.atomic import WriteError, write_atomic, writing

AnyPath = str | os.PathLike[str]


class OutputError(UserError):
    """A flag names what no file can be written to."""

    exit_code = 2


def check_output(flag: str, path: AnyPath) -> None:
    """Raise OutputError where no file can be written to the path that a flag gives.

    For commands that write at their end: nothing is opened or made.
    """
    if flaw := _flaw(path):
        raise OutputError(f"{flag} {path} {flaw}: give a file.")


def write_output(path: AnyPath, content: bytes | str) -> None:
    """Write a file, whole or not at all; text as UTF-8.

    A link is followed, and stays. Pipes and character devices are written to, never replaced.

    Raises WriteError; then no file has changed.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    if flaw := _flaw(path):
        raise WriteError(f"{path} {flaw}: give a file.")
    if (stream := standard_stream(path)) is not None:
        # Opened again, a file would be written to from its start, and a socket not at all. Not by
        # the stream: what is printed may be lost, but not what the user asked for.
        with writing(path), os.fdopen(stream.fileno(), "wb", closefd=False) as file:
            stream.flush()
            file.write(data)
    elif is_special(path):
        with writing(path), os.fdopen(os.open(path, os.O_WRONLY), "wb") as file:
            file.write(data)
    else:
        write_atomic(os.path.realpath(path), data)


def is_special(path: AnyPath) -> bool:
    """Whether there is something at a path (a link is followed) that is not a regular file."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def standard_stream(path: AnyPath) -> TextIO | None:
    """Standard output or error, where a path leads to one of them, as /dev/stdout does."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            if os.path.samestat(os.stat(path), os.fstat(stream.fileno())):
                return stream
    return None


def _flaw(path: AnyPath) -> str:
    """Why nothing can be written to a path, if there is something that is no file there."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        if os.path.islink(path):
            return f"is a link to {os.readlink(path)}, which does not exist"
        return ""  # a new file; why it can't be made is told by who makes it
    if stat.S_ISDIR(mode):
        return "is a folder"
    if stat.S_ISBLK(mode):
        return "is a disk"
    if stat.S_ISSOCK(mode) and standard_stream(path) is None:
        return "is a socket"
    return ""
