"""Processes that parse beside this one.

A worker is a Python of its own that imports this module and what parsing needs: not the caller's
main module, and no JAX. It is given jobs and answers with batches, through a socket, as JSON and
the bytes of ids. It ends when its socket is closed, so also when this process is killed.

No file should be able to kill a worker or to keep it busy for long: `jaxmusic.midi.parse_budget`
bounds what is read of one. But disks hang and systems run out of memory. So a worker that is
killed, or that says nothing for `PATIENCE` seconds, is replaced; the files that it had before it
are read again one by one, never by this process, and the one over which that happens again is told.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from jaxmusic.preparation.parsing import Batch, Chunks, FileResult, Job, Reader

if sys.platform != "win32":
    import resource

# Starting a worker takes some 0.4 s of a core, reading 1 MB 0.1 s or less: one more is started for
# each so many bytes.
SIZE_FOR_A_WORKER = 8 * 2**20
AHEAD = 4  # chunks handed to a worker at a time, so that it never waits for the next
# This process parses too, but leaves larger files to a worker, which is started for them if there
# is none: they cost so much memory that the system might kill who reads them.
OWN_FILE_SIZE = 2**20
# Seconds without an answer after which a worker is given up. The worst file takes 2 on a quiet
# machine, a portion of small ones less; this leaves room for one thirty times as slow or as busy.
PATIENCE = 60.0
LOOK = 1.0  # seconds from one look at the workers to the next
MEMORY = 4 * 2**30  # bytes a worker may have, several times what any file takes

# What a worker runs; its arguments: sys.path, the socket, the folder, the scheme.
START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from jaxmusic.preparation.worker_pool import serve
serve(int(sys.argv[2]), sys.argv[3], sys.argv[4])
"""
_KILLED = FileResult(reason="the process that read it was killed")


def parse_files(
    folder: Path, jobs: Iterable[Job], *, scheme: str, workers: int, size: int
) -> Generator[Batch, None, None]:
    """Parse files of a folder with at most `workers` processes, this one among them.

    Batches come in any order. `size` is that of all files together, in bytes: how many workers
    pay depends on it. Large files always go to a worker, be it one more. A file that kills its
    worker, or takes it too long, has a result that says so. If workers can't be started at all,
    this process does everything.
    """
    chunks = Chunks(jobs)
    reader = Reader(folder, scheme)
    crew = Crew(folder, scheme)
    try:
        for _ in range(min(workers - 1, size // SIZE_FOR_A_WORKER)):
            crew.start()
        while True:
            crew.hand_out(chunks)
            chunk = chunks.take()
            if sum(job.size for job in chunk) > OWN_FILE_SIZE and crew.there_is_one():
                chunks.put_back(chunk)
                chunk = []
            if chunk:
                yield reader.read(chunk)
            elif chunks.suspects and not crew.there_is_one():
                suspects = chunks.take_suspects()
                yield Batch(suspects, [_KILLED] * len(suspects), [], np.empty(0, np.uint32))
            elif not chunks and not crew.is_busy:
                return
            yield from crew.listen(chunks, 0 if chunk else LOOK)
    finally:
        crew.stop()


class Crew:
    """The workers of one preparation; those that are lost are replaced."""

    def __init__(self, folder: Path, scheme: str) -> None:
        self._folder, self._scheme = folder, scheme
        self._workers: list[Worker] = []
        self._started = 0
        self._can_start = sys.platform != "win32"
        self._looked = time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether any worker has something under way."""
        return any(worker.under_way for worker in self._workers)

    def start(self) -> None:
        """Start one more worker, where workers can be started."""
        if not self._can_start:
            return
        self._started += 1
        try:
            self._workers.append(Worker(self._folder, self._scheme, self._started))
        except OSError:  # no memory for one more process, or too many of them
            self._can_start = False

    def there_is_one(self) -> bool:
        """Whether there is a worker; one is started if there is none."""
        if not self._workers:
            self.start()
        return bool(self._workers)

    def hand_out(self, chunks: Chunks) -> None:
        """Give all workers as much as they have ahead."""
        for worker in self._workers:
            worker.take_from(chunks)

    def listen(self, chunks: Chunks, timeout: float) -> Iterator[Batch]:
        """What workers have to say, within some seconds; and what becomes of those that are lost.

        The time of a silence is what this process has seen pass, look by look: while the machine
        sleeps, or this process is stopped, it is nobody's fault.
        """
        if not self._workers:
            return
        heard = set(wait([worker.connection for worker in self._workers], timeout))
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, 2 * LOOK), now
        for worker in tuple(self._workers):
            if worker.connection in heard:
                worker.silent = 0.0
                try:
                    # All that it has to say: it may be faster than this process, which has more to
                    # do, and waits when its answers aren't taken.
                    yield from worker.receive()
                except (EOFError, OSError):
                    yield from self._replace(worker, chunks, _KILLED)
            elif worker.owes:
                worker.silent += passed
                if worker.silent > PATIENCE:
                    slow = FileResult(reason=f"reading it took longer than {PATIENCE:g} seconds")
                    yield from self._replace(worker, chunks, slow)

    def stop(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def _replace(self, worker: "Worker", chunks: Chunks, result: FileResult) -> Iterator[Batch]:
        self._workers.remove(worker)
        worker.stop()
        if worker.ready:
            self.start()
        else:
            self._can_start = False
        yield from worker.leftovers(chunks, result)


class Worker:
    """A process that parses. It is given chunks once it is ready."""

    def __init__(self, folder: Path, scheme: str, number: int) -> None:
        self._connection, theirs = Pipe()
        home = str(Path(__file__).parents[2])
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-c", START, json.dumps([home, *sys.path]),
                    str(theirs.fileno()), os.fspath(folder), scheme,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                # NumPy would start a thread for each core, and reserve memory for it.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        self._number = number
        self.ready = False
        self.silent = 0.0  # seconds since it was last heard, or was given something to do
        self.under_way: deque[list[Job]] = deque()

    @property
    def connection(self) -> "Connection[bytes, bytes]":
        """What can be read when the worker has something to say, or has ended."""
        return self._connection

    @property
    def owes(self) -> bool:
        """Whether it is to say something."""
        return not self.ready or bool(self.under_way)

    def take_from(self, chunks: Chunks) -> None:
        """Hand out as many chunks as a worker has ahead."""
        while self.ready and len(self.under_way) < AHEAD and chunks:
            chunk = chunks.take_suspect() or chunks.take()
            if not self.under_way:
                self.silent = 0.0
            try:
                self._connection.send_bytes(json.dumps(chunk).encode())
            except OSError:  # it has ended, before it could see this chunk
                chunks.put_back(chunk)
                return
            self.under_way.append(chunk)

    def receive(self) -> Iterator[Batch]:
        """All batches that are there, at least one unless it only says that it is ready.

        Raises EOFError or OSError when it has ended.
        """
        while True:
            message = self._connection.recv_bytes()
            if self.ready:
                yield self._batch_of(message)
            self.ready = True
            if not self._connection.poll():
                return

    def _batch_of(self, message: bytes) -> Batch:
        length = int.from_bytes(message[:4])
        files, words = json.loads(message[4 : 4 + length])
        ids = np.frombuffer(message, np.uint32, offset=4 + length)
        results = [FileResult(*file) for file in files]
        return Batch(self.under_way.popleft(), results, words, ids, self._number)

    def leftovers(self, chunks: Chunks, result: FileResult) -> Iterator[Batch]:
        """After its end: give back what was under way, file by file where one may be deadly.

        A file that it had alone before it has that result.
        """
        suspects = self.under_way.popleft() if self.under_way else []
        for chunk in reversed(self.under_way):
            chunks.put_back(chunk)
        if len(suspects) == 1:
            yield Batch(suspects, [result], [], np.empty(0, np.uint32))
        else:
            chunks.suspects += suspects

    def stop(self) -> None:
        """End it, whatever it does."""
        self._connection.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs inside the system
            self._process.wait(LOOK)


def serve(descriptor: int, folder: str, scheme: str) -> None:
    """Parse what comes through the socket until it is closed: all that a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asked
    if sys.platform != "win32":
        _limit_memory()
    reader = Reader(folder, scheme)
    with contextlib.suppress(EOFError, OSError), Connection(descriptor) as connection:
        connection.send_bytes(b"ready")
        while True:
            jobs = [Job(*job) for job in json.loads(connection.recv_bytes())]
            batch = reader.read(jobs)
            answer = json.dumps([batch.files, batch.words]).encode()
            connection.send_bytes(len(answer).to_bytes(4) + answer + batch.ids.tobytes())


if sys.platform != "win32":

    def _limit_memory() -> None:
        """Have what is too large fail here, as the error of one file, before the system acts."""
        with contextlib.suppress(OSError, ValueError):
            _, most = resource.getrlimit(resource.RLIMIT_DATA)
            limit = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
