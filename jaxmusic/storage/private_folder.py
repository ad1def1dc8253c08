"""Folders that no other user can write to or replace: safe for files that run as code."""

import contextlib
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from jaxmusic.runtime.printable import printable

if sys.platform != "win32":
    import fcntl
    import grp
    import pwd

MAX_LINKS = 40  # followed on the way to a folder, as Linux does
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
MARKER = ".made-by-jaxmusic"  # in temporary folders
ABANDONED_AFTER = 24 * 3600  # seconds, for file systems without locks


def why_not_private(folder: Path) -> str | None:
    """Why other users could put files into a folder, in a few words; None if they can't.

    Checks owner and mode of the folder, of all folders above it, and of each symbolic link on the
    way. (Windows keeps a user's folders private; access lists aren't checked.) Raises OSError when
    something on the way is missing.
    """
    if sys.platform == "win32":
        return None
    # In a container's user namespace the system's files belong to the owner of the root folder.
    trusted = {0, os.geteuid(), os.stat("/").st_uid}
    steps = list(_steps_to(folder))
    for path, status in steps:
        if status.st_uid not in trusted:
            return f"{printable(path)} belongs to another user"
        writable = status.st_mode & OTHERS_MAY_WRITE
        if writable == stat.S_IWGRP and _only_ours(status.st_gid):
            writable = 0
        # In a sticky folder like /tmp nobody can rename or remove another user's files.
        sticky = status.st_mode & stat.S_ISVTX and path != steps[-1][0]
        if writable and not sticky and not stat.S_ISLNK(status.st_mode):
            return f"other users may write to {printable(path)}"
    return None


def _steps_to(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Each folder and symbolic link that the system resolves on the way to a folder."""
    here = Path("/")
    yield here, here.lstat()
    parts = list(folder.absolute().parts[1:])
    links = 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            here = here.parent
            continue
        step = here / part
        status = step.lstat()
        yield step, status
        if not stat.S_ISLNK(status.st_mode):
            here = step
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(f"too many symbolic links on the way to {printable(folder)}")
        target = Path(os.readlink(step))
        if target.is_absolute():
            here = Path("/")
        parts = [part for part in target.parts if part != "/"] + parts


def _only_ours(group: int) -> bool:
    """Whether a group has no members but this user (like Linux's private groups) or root."""
    if sys.platform == "win32":
        return False
    if group == 0:
        return True
    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    private = group == user.pw_gid and entry.gr_name == user.pw_name
    return private and set(entry.gr_mem) <= {user.pw_name}


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder of this user alone, removed at the end.

    The next call on the same host removes what a killed process left: folders of such a name that
    have the file MARKER in them.
    """
    prefix = f"jaxmusic-{socket.gethostname()}-"
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if path.is_dir() and not path.is_symlink() and is_abandoned(path / MARKER):
            shutil.rmtree(path, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        marker = folder / f"{MARKER}.new"
        open(marker, "x").close()
        with locked(marker):
            marker.rename(folder / MARKER)  # so that nobody sees it before it is locked
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Mark a temporary file or folder as in use, by a lock.

    (`filelock` makes lock files of its own, and can't lock a folder.)
    """
    descriptor = _lock(path)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_abandoned(path: Path) -> bool:
    """Whether the process that made a temporary file or folder of this user is gone.

    The process holds a lock while it lives. A path that is a day old is abandoned in any case.
    """
    try:
        status = path.lstat()
        if sys.platform != "win32" and status.st_uid != os.geteuid():
            return False
        if time.time() - status.st_mtime > ABANDONED_AFTER:
            return True
        descriptor = _lock(path)
    except OSError:
        return False  # it is gone
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock on a path; None if another process has it."""
    if sys.platform == "win32":
        return None
    # Network file systems lock only files that are open for writing.
    access = os.O_RDONLY if path.is_dir() else os.O_RDWR
    descriptor = os.open(path, access | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
