"""Parsing many MIDI files, on several cores; a bad file, even a deadly one, costs only itself."""

import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmusic.midi.reader import MAX_FILE_SIZE, TOO_LARGE
from jaxmusic.midi.types import MidiError
from jaxmusic.tokenizers.tokens import parse_tokens

NO_FILE = "it is no file but a device or the like"
TRIES = 4  # to read a file that is being changed
PAUSE = 0.1  # seconds between them
KEPT_MEMORY = 48 * 2**20  # bytes; glibc takes up to 64 MiB
_BINARY = getattr(os, "O_BINARY", 0)  # Windows has it


class Job(NamedTuple):
    """A file to parse."""

    place: int  # among all files, for the one who asked
    path: str  # relative to the folder
    size: int  # bytes
    known: str = ""  # digest of bytes that need no parsing


class FileResult(NamedTuple):
    """What became of one file."""

    size: int = 0  # bytes
    mtime_ns: int = 0  # its `stamp_of` as it was read; 0: it could not be read
    digest: str = ""  # of the bytes
    tokens: int = 0
    reason: str = ""  # why it can't be used
    unchanged: bool = False  # the bytes are the known ones, and were not parsed


class Batch(NamedTuple):
    """What became of some files that one reader parsed."""

    jobs: Sequence[Job]
    files: list[FileResult]
    words: list[str]  # the reader's distinct tokens that were in none of its batches before
    ids: npt.NDArray[np.uint32]  # the tokens of all files end to end, as that reader numbers them
    reader: int = 0


class Reader:
    """Parses the files of a folder, and numbers tokens as they first appear."""

    def __init__(self, folder: str | os.PathLike[str], scheme: str) -> None:
        self._folder = os.fspath(folder)
        self._scheme = scheme
        self._numbers = _Numbers()
        _keep_freed_memory()

    def read(self, jobs: Sequence[Job]) -> Batch:
        """Parse files. Whatever is in them, each has a result."""
        known = len(self._numbers)
        ids: list[int] = []
        files = [self._read_file(job, ids) for job in jobs]
        words = list(self._numbers)[known:] if len(self._numbers) > known else []
        return Batch(jobs, files, words, np.array(ids, np.uint32))

    def _read_file(self, job: Job, ids: list[int]) -> FileResult:
        try:
            found = _read_settled(os.path.join(self._folder, job.path))
        except _UnreadableError as error:
            return FileResult(reason=str(error))
        if isinstance(found, FileResult):
            return found
        size, mtime_ns, data = found
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        if digest == job.known:
            return FileResult(size, mtime_ns, digest, unchanged=True)
        try:
            tokens = parse_tokens(data, self._scheme)
            numbers = list(map(self._numbers.__getitem__, tokens))
        except MidiError as error:
            return FileResult(size, mtime_ns, digest, reason=str(error))
        except Exception as error:  # whatever it is: it must cost this file only, and be told
            # Without a digest and a time of change, so that it is tried again the next time.
            fault = f"{type(error).__name__}: {error}"
            return FileResult(size, reason=f"a fault of the reader: {fault}")
        ids += numbers
        return FileResult(size, mtime_ns, digest, len(tokens))


class _UnreadableError(Exception):
    """Why a file can't be read."""


def _read_settled(path: str) -> tuple[int, int, bytes] | FileResult:
    """A file's size, time of change and bytes, of one moment; or what to say of it unread."""
    for _ in range(TRIES):
        try:
            # Not to wait for ever if it has become a pipe since it was found.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
            with open(descriptor, "rb", buffering=0) as file:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise _UnreadableError(NO_FILE)
                size, mtime_ns = before.st_size, stamp_of(before)
                if size > MAX_FILE_SIZE:
                    return FileResult(size, mtime_ns, reason=TOO_LARGE)
                data = file.read(size + 1)
                after = os.fstat(descriptor)
        except OSError as error:
            raise _UnreadableError(unreadable(error)) from None
        if len(data) == size == after.st_size and mtime_ns == stamp_of(after):
            return size, mtime_ns, data
        time.sleep(PAUSE)
    raise _UnreadableError("it changed while it was read")


def stamp_of(status: os.stat_result) -> int:
    """When a file was changed last: nanoseconds as a signed 64-bit number that is never 0.

    Stamps are only compared with each other. A time before 1677 or after 2262, which files may
    well have, wraps around; 0 marks a row of a ledger that is to be tried again.
    """
    return (status.st_mtime_ns + 2**63) % 2**64 - 2**63 or 1


def unreadable(error: OSError) -> str:
    """Why a file that the system refuses is skipped."""
    return f"it can't be opened: {error.strerror or error}"


def _keep_freed_memory() -> None:
    """Have memory that a file took ready for the next one, on systems with glibc.

    It gives freed memory back to the system from 128 KiB on, and asks for it anew, page by page,
    which is 8 % of all the time of preparing. Once a larger block was freed, it keeps twice as much
    as that (mallopt(3), M_MMAP_THRESHOLD). The block isn't touched, so it costs nothing.
    """
    np.empty(KEPT_MEMORY // 2, np.uint8)


class _Numbers(dict[str, int]):
    """Numbers words from 0, in the order in which they are first asked for."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


class Chunks:
    """Jobs in the portions in which they are handed out; those handed back come first."""

    FILES = 64  # at most
    SIZE = 256 * 2**10  # bytes at most, unless it is a single file; some 15 ms of work

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = iter(jobs)
        self._ahead: Job | None = next(self._jobs, None)
        self._back: deque[list[Job]] = deque()
        self.suspects: list[Job] = []  # one of them may be deadly: not to be read by this process

    def __bool__(self) -> bool:
        return bool(self.suspects or self._back) or self._ahead is not None

    def take(self) -> list[Job]:
        """The next portion without suspects; empty when there is none."""
        if self._back:
            return self._back.popleft()
        chunk: list[Job] = []
        size = 0
        while self._ahead is not None and len(chunk) < self.FILES:
            size += self._ahead.size
            if chunk and size > self.SIZE:
                break
            chunk.append(self._ahead)
            self._ahead = next(self._jobs, None)
        return chunk

    def take_suspect(self) -> list[Job]:
        """A suspect, alone; empty when there is none."""
        return [self.suspects.pop()] if self.suspects else []

    def take_suspects(self) -> list[Job]:
        """All of them."""
        suspects, self.suspects = self.suspects, []
        return suspects

    def put_back(self, chunk: list[Job]) -> None:
        """Give a portion back, to be taken next."""
        self._back.appendleft(chunk)
