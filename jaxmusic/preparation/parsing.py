"""Parses MIDI files; a bad file costs only itself.

Run as a program, it is a worker: it parses what comes through a socket (worker_pool.py).
"""

import contextlib
import hashlib
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmusic.midi.reader import MAX_FILE_SIZE, TOO_LARGE
from jaxmusic.midi.types import MidiError
from jaxmusic.tokenizers.tokenizer import get_tokenizer, parse_counted

if sys.platform != "win32":
    import resource

NOT_REGULAR = "it is not a regular file"
TRIES = 4  # to read a file that is being changed
PAUSE = 0.1  # seconds between them
KEPT_MEMORY = 48 * 2**20  # bytes; glibc accepts up to 64 MiB
WORKER_MEMORY = 4 * 2**30  # bytes, several times what any file takes
_BINARY = getattr(os, "O_BINARY", 0)  # Windows has it


class Job(NamedTuple):
    """A file to parse."""

    number: int  # of the file, for the caller
    path: str  # relative to the folder
    size: int  # bytes
    digest: str = ""  # known bytes with this digest are not parsed


class FileResult(NamedTuple):
    """The outcome of one file."""

    size: int = 0  # bytes
    mtime_ns: int = 0  # its `timestamp` when it was read; 0: it could not be read
    digest: str = ""  # of the bytes
    tokens: int = 0
    reason: str = ""  # why it can't be used
    unchanged: bool = False  # the bytes have the job's digest and were not parsed
    notes: dict[str, int] | None = None  # what became of them, by `Tokenizer.encode_counted`


class Batch(NamedTuple):
    """The outcome of some files that one reader parsed."""

    jobs: Sequence[Job]
    results: list[FileResult]
    new_tokens: list[str]  # distinct tokens that no earlier batch of the reader had
    ids: npt.NDArray[np.uint32]  # tokens of all files end to end, by the reader's numbering
    reader: int = 0


class Reader:
    """Parses the files of a folder, and numbers tokens as they first appear."""

    def __init__(self, folder: str | os.PathLike[str], scheme: str) -> None:
        self._folder = os.fspath(folder)
        get_tokenizer(scheme)  # may raise, before any file is read
        self._scheme = scheme
        self._token_ids = _TokenIds()
        _keep_freed_memory()

    def read(self, jobs: Sequence[Job]) -> Batch:
        """Parse files. A bad file has a result with the reason."""
        known = len(self._token_ids)
        ids: list[int] = []
        results = [self.read_file(job, ids) for job in jobs]
        new = list(self._token_ids)[known:] if len(self._token_ids) > known else []
        return Batch(jobs, results, new, np.array(ids, np.uint32))

    def read_file(self, job: Job, ids: list[int]) -> FileResult:
        """Parse one file and append the ids of its tokens."""
        try:
            found = _read_settled(os.path.join(self._folder, job.path))
        except UnreadableError as error:
            return FileResult(reason=str(error))
        if isinstance(found, FileResult):
            return found
        size, mtime_ns, data = found
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        if digest == job.digest:
            return FileResult(size, mtime_ns, digest, unchanged=True)
        try:
            tokens, notes = parse_counted(data, self._scheme)
            new_ids = list(map(self._token_ids.__getitem__, tokens))
        except MidiError as error:
            return FileResult(size, mtime_ns, digest, reason=str(error))
        except Exception as error:  # any fault of ours costs this file only, and is reported
            # Without a digest and a time of change: the file is tried again next time.
            fault = f"{type(error).__name__}: {error}"
            return FileResult(size, reason=f"a fault of the reader: {fault}")
        ids += new_ids
        return FileResult(size, mtime_ns, digest, len(tokens), notes=notes)


class UnreadableError(Exception):
    """Why a file can't be read."""


def _read_settled(path: str) -> tuple[int, int, bytes] | FileResult:
    """A file's size, timestamp and bytes of one moment; or its result, if it need not be read."""
    for _ in range(TRIES):
        try:
            # O_NONBLOCK: don't wait for ever if it became a pipe since it was found.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
            with open(descriptor, "rb", buffering=0) as file:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise UnreadableError(NOT_REGULAR)
                size, mtime_ns = before.st_size, timestamp(before)
                if size > MAX_FILE_SIZE:
                    return FileResult(size, mtime_ns, reason=TOO_LARGE)
                data = file.read(size + 1)
                after = os.fstat(descriptor)
        except OSError as error:
            raise UnreadableError(why_unreadable(error)) from None
        if len(data) == size == after.st_size and mtime_ns == timestamp(after):
            return size, mtime_ns, data
        time.sleep(PAUSE)
    raise UnreadableError("it changed while it was read")


def timestamp(status: os.stat_result) -> int:
    """A file's time of change: nanoseconds as a signed 64-bit number that is never 0.

    Timestamps are only compared with each other. A time before 1677 or after 2262, which files may
    well have, wraps around; 0 marks a row of a ledger that is to be tried again.
    """
    return (status.st_mtime_ns + 2**63) % 2**64 - 2**63 or 1


def why_unreadable(error: OSError) -> str:
    """Why a file that the system refuses is skipped."""
    return f"it can't be opened: {error.strerror or error}"


def _keep_freed_memory() -> None:
    """Have glibc keep the memory that a file took for the next one.

    glibc gives blocks of 128 KiB or more back to the system when they are freed, and asks for them
    anew, page by page: 8 % of the whole time. After a larger block was freed, it keeps blocks of up
    to that size (mallopt(3), M_MMAP_THRESHOLD). The block isn't touched, so it costs nothing.
    """
    np.empty(KEPT_MEMORY // 2, np.uint8)


class _TokenIds(dict[str, int]):
    """Numbers tokens from 0, in the order in which they are first looked up."""

    def __missing__(self, token: str) -> int:
        number = self[token] = len(self)
        return number


def serve(reader: Reader, descriptor: int) -> None:
    """Parse the jobs that a socket delivers, until it is closed: the whole work of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller
    _limit_memory()
    with contextlib.suppress(EOFError, OSError), Connection(descriptor) as connection:
        connection.send_bytes(b"ready")
        while True:
            jobs = [Job(*job) for job in json.loads(connection.recv_bytes())]
            batch = reader.read(jobs)
            header = json.dumps([batch.results, batch.new_tokens]).encode()
            connection.send_bytes(len(header).to_bytes(4) + header + batch.ids.tobytes())


def _limit_memory() -> None:
    """Limit a worker's memory, so that a file that needs more raises an error here."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError, ValueError):
            _, most = resource.getrlimit(resource.RLIMIT_DATA)
            limit = WORKER_MEMORY if most == resource.RLIM_INFINITY else min(WORKER_MEMORY, most)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def main(make_reader: Callable[[str, str], Reader] = Reader) -> None:
    """Work as a worker: the last arguments are the socket, the folder and the scheme."""
    descriptor, folder, scheme = sys.argv[-3:]
    serve(make_reader(folder, scheme), int(descriptor))


if __name__ == "__main__":
    main()
