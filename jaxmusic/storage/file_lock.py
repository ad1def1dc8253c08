"""A lock that one process at a time holds, also on several hosts that share a disk.

The lock is a file that exists while it is held. It is created with O_EXCL, which every network file
system passes on to its server, and names its owner: host, process and a random token. The owner
touches it every HEARTBEAT seconds. A process that finds it decides whether the owner is alive:

- on the owner's own machine by the process (its id and its start time);
- elsewhere by the heartbeat: a lock whose time of change stays the same for LEASE seconds is taken
  over. The waiting process measures this with its own timer, so the clocks of hosts and file server
  may differ. Time in which the file server doesn't answer doesn't count.

A lock by heartbeat can fail: a host that is frozen for longer than LEASE goes on without its lock
when it wakes up. So the owner calls `check` before it publishes anything, and what it publishes
stays right without the lock too (see preparation/corpus_folder.py and run_dir/checkpoint_dir.py).

Not used: flock and fcntl locks. NFS mounted with `nolock`, and every file system that implements
flock by itself, restrict them to one host silently, and they don't say who holds them.

`filelock` 4.3.1 was tried with the same tests. Its FileLock is flock. Its SoftFileLease works like
the lock here, but takes over only by exchanging two names in one step, which NFS refuses: there the
lock of a killed process stays for ever. It never takes over an empty lock file, which a power cut
leaves.
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
from typing import Annotated, NamedTuple

import msgspec

from jaxmusic.errors import UserError
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import writing
from jaxmusic.storage.reading import parse_json

HEARTBEAT = 5.0  # seconds between two touches by the owner
LEASE = 30.0  # seconds without a touch after which another host's lock is taken over
POLL = 0.2  # seconds between two checks of a lock that another process holds

_FIRST_BYTES = b'{"lock": 1, '  # of every lock file
_MAX_BYTES = 4096  # read of a lock file
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class LockError(UserError):
    """A lock can't be acquired, or was lost."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock, as its lock file names it."""

    host: str
    machine: str  # tells apart machines of one host name, and containers
    pid: Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
    start: str | None  # tells it from a later process with the same id; None: unknown
    inode: int  # of the lock file: nobody holds a copy of it
    token: str  # of this one acquisition

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
        """Whether the process exists; None if that can't be known from here."""
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
    """' (process 7 on HOST)', to append to a word; empty for an unknown owner."""
    return "" if owner is None else f" ({owner})"


class FileLock:
    """A lock that this process acquired."""

    def __init__(self, path: Path, owner: Owner, *, waited: bool) -> None:
        """Start the heartbeat of a new lock file."""
        self.path = path
        self.owner = owner
        self.waited = waited  # whether another process held it first
        self._is_lost = False
        self._released = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, name="file lock", daemon=True)
        self._heartbeat.start()

    def check(self, *, quick: bool = False) -> None:
        """Raise LockError when another process has taken the lock over.

        `quick` relies on the last heartbeat, without reading the file.
        """
        with writing(self.path):
            if not quick and not self._is_lost:
                self._is_lost = not self._is_held()
            if not self._is_lost:
                return
            state = _read_state(self.path)
        if state is None or state.owner is None:
            how = "it was removed"
        else:
            how = f"{state.owner} took it over, after {LEASE:g} seconds without a sign of life"
        raise LockError(
            f"The lock {printable(self.path)} is no longer held by this process: {how}. It stops; "
            "what was saved before is kept."
        )

    def release(self) -> None:
        """Let the next process have it."""
        self._released.set()
        self._heartbeat.join(POLL)  # it may be waiting for a server
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
        # A process that takes over another lock may move this one aside by mistake, for a moment.
        return self._is_ours() or (not self._released.wait(POLL) and self._is_ours())

    def _is_ours(self) -> bool:
        state = _read_state(self.path)
        return state is not None and state.owner == self.owner


@contextlib.contextmanager
def hold_lock(
    path: Path,
    on_wait: Callable[[Owner | None], None],
    *,
    refusal: Callable[[Owner | None], Exception] | None = None,
) -> Iterator[FileLock]:
    """Acquire a lock, wait for it if another process holds it, and release it. Makes its folder.

    `on_wait` is called once, before the first wait, with the owner (None: unknown). With `refusal`
    nobody waits for an owner that is alive: the exception that it returns is raised.

    Raises WriteError when the file can't be made, LockError when something else is in its place.
    """
    watch, waited = _Watch(), False
    while (owner := _create(path)) is None:
        with writing(path):
            state = _read_state(path)
        if state is None:
            continue
        if not _is_lock(state.content):
            raise LockError(
                f"{printable(path)} is needed as a lock, and holds something else: move it away."
            )
        is_alive = watch.is_alive(state)
        if is_alive is False:
            with writing(path):
                _remove_stale(path, state)
            continue
        if is_alive and refusal is not None:
            raise refusal(state.owner)
        if not waited:
            on_wait(state.owner)
            waited = True
        time.sleep(POLL)
    lock = FileLock(path, owner, waited=waited)
    try:
        yield lock
    finally:
        lock.release()


def is_lock_file(path: Path) -> bool:
    """Whether a file is a lock file, maybe one that is cut off."""
    with contextlib.suppress(OSError):
        state = _read_state(path)
        return state is not None and _is_lock(state.content)
    return False


class _State(NamedTuple):
    """A lock file at one moment."""

    content: bytes
    inode: int
    changed: int  # ns
    owner: Owner | None


class _Watch:
    """Watches one lock file for changes."""

    def __init__(self) -> None:
        self._last: _State | None = None
        self._polled = 0.0
        self._silent = 0.0  # seconds without a change

    def is_alive(self, state: _State) -> bool | None:
        """Whether the owner is alive; None: that is not known yet."""
        if state.owner is not None and state.owner.inode == state.inode:
            is_alive = state.owner.is_alive()
            if is_alive is not None:
                return is_alive
        last, self._last = self._last, state
        now, before = time.monotonic(), self._polled
        self._polled = now
        if last != state:
            self._silent = 0.0
            same_owner = last is not None and last.content == state.content
            return True if same_owner else None
        self._silent += min(now - before, 2 * POLL)  # no more, if the server took longer
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


def _read_state(path: Path) -> _State | None:
    """The lock file's state; None if there is none. (Opening it makes NFS ask its server.)"""
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return _State(b"no file", status.st_ino, 0, None)
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    except FileNotFoundError:
        return None
    try:
        content = os.read(descriptor, _MAX_BYTES)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return _State(content, status.st_ino, status.st_mtime_ns, _owner_of(content))


def _is_lock(content: bytes) -> bool:
    return _FIRST_BYTES.startswith(content[: len(_FIRST_BYTES)])


def _owner_of(content: bytes) -> Owner | None:
    if not content.startswith(_FIRST_BYTES):
        return None
    try:
        return parse_json(content, Owner)
    except ValueError:
        return None


def _remove_stale(path: Path, stale: _State) -> None:
    """Remove a lock file whose owner is gone, but not another one that has replaced it."""
    if (now := _read_state(path)) is None or now.content != stale.content:
        return
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)  # only one of several processes succeeds
    except FileNotFoundError:
        return
    moved = _read_state(aside)
    if moved is not None and moved.content != stale.content:
        with contextlib.suppress(OSError):  # a live one: put it back, unless there is a third
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _machine() -> str:
    """Identifies this boot of the machine, and the container."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(f"{os.stat('/proc/self/ns/pid').st_ino:x}")
    return " ".join(parts)


def _start_of(pid: int) -> str | None:
    """When a process started, in clock ticks; None if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    # State and start time. (A process that has ended stays until its parent waits for it.)
    return "ended" if fields[0] in (b"Z", b"X") else fields[19].decode()
