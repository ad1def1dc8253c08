"""A folder that one process at a time works in."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxmusic.atomic import writing

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def claimed(folder: Path, when_busy: Callable[[], None]) -> Iterator[bool]:
    """Make a folder and hold it; if another process does, call `when_busy`, and then wait.

    (Which may tell so, or raise, not to wait.) It gives whether it has waited.

    The system lets go of it when the process ends, however it ends. Where it knows no locks (some
    network file systems, Windows) nobody waits. The folder must not be replaced while it is held,
    but may be removed.

    Raises WriteError when it can't be made.
    """
    waited = False
    while True:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if sys.platform == "win32":
            yield False
            return
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # removed by the one who was done with it
            continue
        try:
            waited = _lock(descriptor, when_busy) or waited
            # Who held it before may have removed it when he was done: then hold the one there now.
            if _is(folder, descriptor):
                yield waited
                return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, when_busy: Callable[[], None]) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        when_busy()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    except OSError:
        pass  # no locks here
    return False


def _is(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False
