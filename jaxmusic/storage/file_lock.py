"""A lock that one process at a time holds, also of several hosts that share a disk.

The lock is a file that exists as long as it is held. It is created with O_EXCL, which every network
file system passes on to its server, and names its owner: host, process and a random token. The
owner touches it every HEARTBEAT seconds. Whoever finds it decides whether the owner still lives:

- on the owner's own machine by the process (its id, and when it started);
- elsewhere by the heartbeat: a lock whose time of change stays the same for LEASE seconds is taken
  over. Only changes count, measured with the waiting process's own timer, so the clocks of hosts
  and file server may differ. Time in which the file server gives no answer doesn't count.

A lock by heartbeat can fail: a host that is frozen for longer than LEASE goes on, when it wakes up,
without its lock. So the owner calls `check` before it publishes anything, and what it publishes
stays right without the lock too (see preparing.py and checkpoint_dir.py).

Not used here: flock and fcntl locks, which NFS mounted with `nolock`, and every file system that
answers flock by itself, keep to one host without a sign of it (a lock on a folder always), and
which can't say who holds them. Nor `filelock` (4.2.11): its locks are flock, or SoftFileLease,
which is like the lock here, but takes over only by swapping two names in one step; NFS can't, and
there a killed process's lock stays for ever (tried by refusing the swap).
"""

import contextlib
import json
import os
import secrets
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from jaxmusic.errors import UserError
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import writing

HEARTBEAT = 5.0  # seconds between two signs of life of the owner
LEASE = 30.0  # seconds without one after which another host's lock is taken over
POLL = 0.2  # seconds between two looks at a lock that another process holds

_FIRST_BYTES = b'{"lock": 1, '  # of every lock file
_LONGEST = 4096  # bytes
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class LockError(UserError):
    """A lock can't be had, or was lost."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock, as its lock file names it."""

    host: str
    machine: str  # among machines of the same name; a container counts as one
    pid: int
    start: str | None  # tells a process from a later one with the same id; None: it isn't known
    inode: int  # of the lock file: a copy of it is held by nobody
    token: str  # of this one time that it holds the lock

    def __str__(self) -> str:
        return f"process {self.pid} on {printable(self.host)}"

    @classmethod
    def current(cls, inode: int) -> "Owner":
        """This process."""
        pid = os.getpid()
        return cls(
            socket.gethostname(), _machine(), pid, _start_of(pid), inode, secrets.token_hex(8)
        )

    def is_alive(self) -> bool | None:
        """Whether the process exists; None where that can't be known from here."""
        if sys.platform == "win32" or (self.host, self.machine) != (
            socket.gethostname(),
            _machine(),
        ):
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # another user's
            pass
        start = _start_of(self.pid)
        return None if start is None or self.start is None else start == self.start


def owner_in_brackets(owner: Owner | None) -> str:
    """An owner as a part of a sentence, with a space before it; nothing where it isn't known."""
    return "" if owner is None else f" ({owner})"


class FileLock:
    """A lock that this process holds."""

    def __init__(self, path: Path, owner: Owner, *, waited: bool) -> None:
        """Start the heartbeat of a lock file that was created."""
        self.path = path
        self.owner = owner
        self.waited = waited  # whether another process held it first
        self._is_lost = False
        self._released = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, name="file lock", daemon=True)
        self._heartbeat.start()

    def check(self, *, quick: bool = False) -> None:
        """Raise LockError when another process has taken the lock over.

        `quick`: as the last heartbeat knows, without looking at the file.
        """
        with writing(self.path):
            if not quick and not self._is_lost:
                self._is_lost = not self._is_held()
            if not self._is_lost:
                return
            seen = _look_at(self.path)
        if seen is None or seen.owner is None:
            how = "it was removed"
        else:
            how = f"{seen.owner} took it over, after {LEASE:g} seconds without a sign of life"
        raise LockError(
            f"The lock {printable(self.path)} is no longer held by this process: {how}. It stops; "
            "what was saved before is kept."
        )

    def release(self) -> None:
        """Let the next process have it."""
        self._released.set()
        self._heartbeat.join(POLL)  # it may wait for a server
        with contextlib.suppress(OSError):
            if self._is_ours():
                self.path.unlink()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # of a network or server that is away for a while
                if not self._is_held():
                    self._is_lost = True
                    return
                os.utime(self.path)

    def _is_held(self) -> bool:
        # A process that takes over another's lock may take this one away by mistake, for a moment.
        return self._is_ours() or (not self._released.wait(POLL) and self._is_ours())

    def _is_ours(self) -> bool:
        seen = _look_at(self.path)
        return seen is not None and seen.owner == self.owner


@contextlib.contextmanager
def hold_lock(
    path: Path,
    on_wait: Callable[[Owner | None], None],
    *,
    refusal: Callable[[Owner | None], Exception] | None = None,
) -> Iterator[FileLock]:
    """Hold a lock, once no other process does. Folders on its path are made.

    `on_wait` is called once, before the first wait, with the owner (None: the file names none).
    With `refusal` there is no wait for an owner that is known to live: what it returns is raised.

    Raises WriteError when the file can't be made, LockError when something else lies in its place.
    """
    watch, waited = _Watch(), False
    while (owner := _create(path)) is None:
        with writing(path):
            seen = _look_at(path)
        if seen is None:
            continue
        if not _is_lock(seen.content):
            raise LockError(
                f"{printable(path)} is needed as a lock, and holds something else: move it away."
            )
        is_alive = watch.is_alive(seen)
        if is_alive is False:
            with writing(path):
                _take_away(path, seen)
            continue
        if is_alive and refusal is not None:
            raise refusal(seen.owner)
        if not waited:
            on_wait(seen.owner)
            waited = True
        time.sleep(POLL)
    lock = FileLock(path, owner, waited=waited)
    try:
        yield lock
    finally:
        lock.release()


def is_lock_file(path: Path) -> bool:
    """Whether a file is a lock, or one that was not written to its end."""
    with contextlib.suppress(OSError):
        seen = _look_at(path)
        return seen is not None and _is_lock(seen.content)
    return False


class _Seen(NamedTuple):
    """A lock file at one moment."""

    content: bytes
    inode: int
    changed: int  # ns
    owner: Owner | None


class _Watch:
    """Looks at one lock again and again."""

    def __init__(self) -> None:
        self._last: _Seen | None = None
        self._looked = 0.0
        self._silent = 0.0  # seconds without a sign of life

    def is_alive(self, seen: _Seen) -> bool | None:
        """Whether the owner lives; None: that is not known yet."""
        if seen.owner is not None and seen.owner.inode == seen.inode:
            is_alive = seen.owner.is_alive()
            if is_alive is not None:
                return is_alive
        last, self._last = self._last, seen
        now, before = time.monotonic(), self._looked
        self._looked = now
        if last != seen:
            self._silent = 0.0
            same_owner = last is not None and last.content == seen.content
            return True if same_owner else None
        self._silent += min(now - before, 2 * POLL)  # no more where this look itself took long
        return False if self._silent >= LEASE else None


def _create(path: Path) -> Owner | None:
    """Create the lock file; None when there is one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW
    with writing(path):
        try:
            try:
                descriptor = os.open(path, flags, 0o666)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(path, flags, 0o666)
        except FileExistsError:
            return None
        try:
            with os.fdopen(descriptor, "wb") as file:
                owner = Owner.current(os.fstat(descriptor).st_ino)
                file.write(json.dumps({"lock": 1, **asdict(owner)}).encode() + b"\n")
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
    return owner


def _look_at(path: Path) -> _Seen | None:
    """What lies there; None: nothing. (Opening it makes NFS ask its server.)"""
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return _Seen(b"no file", status.st_ino, 0, None)
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    except FileNotFoundError:
        return None
    try:
        content = os.read(descriptor, _LONGEST)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return _Seen(content, status.st_ino, status.st_mtime_ns, _owner_of(content))


def _is_lock(content: bytes) -> bool:
    return _FIRST_BYTES.startswith(content[: len(_FIRST_BYTES)])


def _owner_of(content: bytes) -> Owner | None:
    if not content.startswith(_FIRST_BYTES):
        return None
    try:
        fields = json.loads(content)
        del fields["lock"]
        owner = Owner(**fields)
    except (ValueError, TypeError):
        return None
    texts = (owner.host, owner.machine, owner.start or "", owner.token)
    if not all(type(text) is str for text in texts):
        return None
    numbers = type(owner.pid) is type(owner.inode) is int
    return owner if numbers and 0 < owner.pid < 2**31 else None


def _take_away(path: Path, stale: _Seen) -> None:
    """Remove a lock file whose owner is gone, and no other that took its place meanwhile."""
    if (now := _look_at(path)) is None or now.content != stale.content:
        return
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)  # of several processes one alone succeeds
    except FileNotFoundError:
        return
    moved = _look_at(aside)
    if moved is not None and moved.content != stale.content:
        with contextlib.suppress(OSError):  # a live one: back, unless there is yet another
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _machine() -> str:
    """Tells apart machines of one name, and containers on one machine."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(f"{os.stat('/proc/self/ns/pid').st_ino:x}")
    return " ".join(parts)


def _start_of(pid: int) -> str | None:
    """When a process started, in ticks of its machine; None: that isn't known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    # State and start time. (A process that has ended stays until its parent asks for its end.)
    return "ended" if fields[0] in (b"Z", b"X") else fields[19].decode()
