"""A pool of processes that parse files.

A worker is a Python process that imports what parsing needs: not the caller's main module, and no
JAX. It gets jobs and returns batches through a socket, as JSON and the bytes of ids. It ends when
its socket is closed, so also when this process is killed.

No file should kill a worker or keep it busy for long: `midi.parse_budget` bounds the work per file.
But disks hang and systems run out of memory. So a worker that is killed, or doesn't answer for
`PATIENCE` seconds, is replaced. The files that it had are quarantined: workers read them again one
by one, this process never does, and the one that kills or blocks a worker again is reported.

pebble and concurrent.futures were tried with the same tests. Both import the caller's main module
in each worker; pebble measures time-outs by the wall clock, so a machine that sleeps loses healthy
workers; concurrent.futures has no time-outs, and one dead worker ends its pool.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from jaxmusic.preparation.parsing import Batch, FileResult, Job, Reader

# Starting a worker takes some 0.4 s of a core, reading 1 MB 0.1 s or less: one more worker is
# started for each so many bytes.
SIZE_FOR_A_WORKER = 8 * 2**20
AHEAD = 4  # chunks that a worker has at a time, so that it never waits for the next
# This process parses too, but leaves larger files to a worker, which is started for them if there
# is none: they need so much memory that the system might kill whoever reads them.
OWN_FILE_SIZE = 2**20
# Seconds without an answer after which a worker is replaced. The worst file takes 2 on a quiet
# machine, a chunk of small ones less; this leaves room for one thirty times as slow or as busy.
PATIENCE = 60.0
POLL = 1.0  # seconds between polls of the workers

# The program that a worker runs. (-P: nothing is imported from the current folder.)
WORKER = ("-P", "-m", "jaxmusic.preparation.parsing")
_KILLED = FileResult(reason="the process that read it was killed")


def parse_files(
    folder: Path,
    jobs: Iterable[Job],
    *,
    scheme: str,
    workers: int,
    size: int,
    make_reader: Callable[[Path, str], Reader] = Reader,
    worker: Sequence[str] = WORKER,
) -> Generator[Batch, None, None]:
    """Parse files of a folder with at most `workers` processes, this one among them.

    Batches come in any order. `size` is the size of all files in bytes: it decides how many workers
    pay. A large file always goes to a worker, even if one more is needed. The result of a file
    that kills or blocks its worker says so. If no worker can be started, this process does all.

    `make_reader` makes the reader of this process; `worker` is the program that workers run.
    """
    queue = JobQueue(jobs)
    reader = make_reader(folder, scheme)
    pool = WorkerPool(folder, scheme, worker)
    try:
        for _ in range(min(workers - 1, size // SIZE_FOR_A_WORKER)):
            pool.start()
        while True:
            pool.hand_out(queue)
            chunk = queue.take()
            if sum(job.size for job in chunk) > OWN_FILE_SIZE and pool.has_worker():
                queue.put_back(chunk)
                chunk = []
            if chunk:
                yield reader.read(chunk)
            elif queue.quarantined and not pool.has_worker():
                lost, queue.quarantined = queue.quarantined, []
                yield Batch(lost, [_KILLED] * len(lost), [], np.empty(0, np.uint32))
            elif not queue and not pool.is_busy:
                return
            yield from pool.receive(queue, 0 if chunk else POLL)
    finally:
        pool.stop()


class JobQueue:
    """Jobs in chunks; chunks that were put back come first."""

    FILES = 64  # at most in a chunk
    SIZE = 256 * 2**10  # bytes at most, unless it is a single file; some 15 ms of work

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = iter(jobs)
        self._next: Job | None = next(self._jobs, None)
        self._returned: deque[list[Job]] = deque()
        self.quarantined: list[Job] = []  # one of them killed or blocked a worker

    def __bool__(self) -> bool:
        return bool(self.quarantined or self._returned) or self._next is not None

    def take(self) -> list[Job]:
        """The next chunk of jobs that aren't quarantined; empty if there is none."""
        if self._returned:
            return self._returned.popleft()
        chunk: list[Job] = []
        size = 0
        while self._next is not None and len(chunk) < self.FILES:
            size += self._next.size
            if chunk and size > self.SIZE:
                break
            chunk.append(self._next)
            self._next = next(self._jobs, None)
        return chunk

    def take_quarantined(self) -> list[Job]:
        """A quarantined job, alone; empty if there is none."""
        return [self.quarantined.pop()] if self.quarantined else []

    def put_back(self, chunk: list[Job]) -> None:
        """Return a chunk, to be taken next."""
        self._returned.appendleft(chunk)


class WorkerPool:
    """The workers of one preparation; those that are lost are replaced."""

    def __init__(self, folder: Path, scheme: str, program: Sequence[str] = WORKER) -> None:
        self._arguments = (folder, scheme, program)
        self._workers: list[Worker] = []
        self._started = 0
        self._can_start = sys.platform != "win32"
        self._polled = time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether any worker has a chunk."""
        return any(worker.chunks for worker in self._workers)

    def start(self) -> None:
        """Start one more worker, where workers can be started."""
        if not self._can_start:
            return
        self._started += 1
        try:
            self._workers.append(Worker(*self._arguments, number=self._started))
        except OSError:  # no memory for one more process, or too many of them
            self._can_start = False

    def has_worker(self) -> bool:
        """Whether there is a worker; one is started if there is none."""
        if not self._workers:
            self.start()
        return bool(self._workers)

    def hand_out(self, queue: JobQueue) -> None:
        """Give each worker as many chunks as it may have."""
        for worker in self._workers:
            worker.take_from(queue)

    def receive(self, queue: JobQueue, timeout: float) -> Iterator[Batch]:
        """The batches that arrive within some seconds; replaces workers that are lost.

        A worker's silence is counted in time that this process polled: while the machine sleeps,
        or this process is stopped, no worker is late.
        """
        if not self._workers:
            return
        readable = set(wait([worker.connection for worker in self._workers], timeout))
        now = time.monotonic()
        passed, self._polled = min(now - self._polled, 2 * POLL), now
        for worker in tuple(self._workers):
            if worker.connection in readable:
                worker.silent = 0.0
                try:
                    # All batches that are there: a worker may be faster than this process, and
                    # waits while nobody takes its answers.
                    yield from worker.receive()
                except (EOFError, OSError):
                    yield from self._replace(worker, queue, _KILLED)
            elif worker.is_expected:
                worker.silent += passed
                if worker.silent > PATIENCE:
                    slow = FileResult(reason=f"reading it took longer than {PATIENCE:g} seconds")
                    yield from self._replace(worker, queue, slow)

    def stop(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def _replace(self, worker: "Worker", queue: JobQueue, result: FileResult) -> Iterator[Batch]:
        self._workers.remove(worker)
        worker.stop()
        if worker.ready:
            self.start()
        else:
            self._can_start = False
        yield from worker.give_back(queue, result)


class Worker:
    """A process that parses. It gets chunks once it is ready."""

    def __init__(
        self, folder: Path, scheme: str, program: Sequence[str] = WORKER, *, number: int = 1
    ) -> None:
        self._connection, theirs = Pipe()
        home = str(Path(__file__).parents[2])
        environment = {
            # The modules that this process sees.
            "PYTHONPATH": os.pathsep.join([home, *sys.path]),
            # NumPy would start a thread for each core, and reserve memory for it.
            "OPENBLAS_NUM_THREADS": "1",
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *program, str(theirs.fileno()), os.fspath(folder), scheme],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, **environment},
            )  # fmt: skip
        self._number = number
        self.ready = False
        self.silent = 0.0  # seconds since its last answer, or since it got something to do
        self.chunks: deque[list[Job]] = deque()

    @property
    def connection(self) -> "Connection[bytes, bytes]":
        """Readable when the worker has answered, or has ended."""
        return self._connection

    @property
    def is_expected(self) -> bool:
        """Whether an answer is due."""
        return not self.ready or bool(self.chunks)

    def take_from(self, queue: JobQueue) -> None:
        """Take as many chunks as a worker may have."""
        while self.ready and len(self.chunks) < AHEAD and queue:
            chunk = queue.take_quarantined() or queue.take()
            if not self.chunks:
                self.silent = 0.0
            try:
                self._connection.send_bytes(json.dumps(chunk).encode())
            except OSError:  # it has ended, before it could see this chunk
                queue.put_back(chunk)
                return
            self.chunks.append(chunk)

    def receive(self) -> Iterator[Batch]:
        """All batches that have arrived. Waits for one, unless the message is that it is ready.

        Raises EOFError or OSError when the worker has ended.
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
        results, tokens = json.loads(message[4 : 4 + length])
        ids = np.frombuffer(message, np.uint32, offset=4 + length)
        results = [FileResult(*result) for result in results]
        return Batch(self.chunks.popleft(), results, tokens, ids, self._number)

    def give_back(self, queue: JobQueue, result: FileResult) -> Iterator[Batch]:
        """After its end: return its chunks. The first is quarantined, unless it is one file.

        Such a file, which was alone, has the given result.
        """
        suspects = self.chunks.popleft() if self.chunks else []
        for chunk in reversed(self.chunks):
            queue.put_back(chunk)
        if len(suspects) == 1:
            yield Batch(suspects, [result], [], np.empty(0, np.uint32))
        else:
            queue.quarantined += suspects

    def stop(self) -> None:
        """Kill the process."""
        self._connection.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs inside the system
            self._process.wait(POLL)
