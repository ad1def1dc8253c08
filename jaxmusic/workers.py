"""Processes that parse beside this one.

A worker is a Python of its own that imports this module and what parsing needs: not the caller's
main module, and no JAX. It is given jobs and answers with batches, through a socket, as JSON and
the bytes of ids. It ends when its socket is closed, so also when this process is killed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from jaxmusic.parsing import Batch, Chunks, FileResult, Job, Reader

# Starting a worker takes some 0.4 s of a core, reading 1 MB 0.1 s or less: one more is started for
# each so many bytes.
SIZE_FOR_A_WORKER = 8 * 2**20
AHEAD = 6  # chunks handed to a worker at a time, so that it never waits for the next
# This process parses too, but takes no file that could cost so much memory that it would be killed.
OWN_FILE_SIZE = 2**20

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from jaxmusic.workers import serve
serve(int(sys.argv[2]), sys.argv[3], sys.argv[4])
"""
_KILLED = FileResult(reason="the process that read it was killed")


def parse_files(
    folder: Path, jobs: Iterable[Job], *, scheme: str, workers: int, size: int
) -> Generator[Batch, None, None]:
    """Parse files of a folder with at most `workers` processes, this one among them.

    Batches come in any order. `size` is that of all files together, in bytes: how many workers
    pay depends on it. A file that kills its worker has a result that says so, and the worker is
    replaced. If workers can't be started at all, this process does everything.
    """
    chunks = Chunks(jobs)
    reader = Reader(folder, scheme)
    count = min(workers - 1, size // SIZE_FOR_A_WORKER) if sys.platform != "win32" else 0
    crew = [Worker(folder, scheme, number) for number in range(1, count + 1)]
    started = count
    try:
        while True:
            for worker in crew:
                worker.take_from(chunks)
            chunk = chunks.take()
            too_large = bool(crew) and sum(job.size for job in chunk) > OWN_FILE_SIZE
            if too_large:
                chunks.put_back(chunk)
            elif chunk:
                yield reader.read(chunk)
            elif not any(worker.under_way for worker in crew):
                return
            nothing_to_do = too_large or not chunk
            for worker in _heard(crew, None if nothing_to_do else 0):
                try:
                    if batch := worker.receive():
                        yield batch
                except (EOFError, OSError):
                    crew.remove(worker)
                    worker.stop()
                    yield from worker.leftovers(chunks)
                    if worker.ready:
                        started += 1
                        crew.append(Worker(folder, scheme, started))
    finally:
        for worker in crew:
            worker.stop()


class Worker:
    """A process that parses. It is given chunks once it is ready."""

    def __init__(self, folder: Path, scheme: str, number: int) -> None:
        self._connection, theirs = Pipe()
        home = str(Path(__file__).parent.parent)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-c", _START, json.dumps([home, *sys.path]),
                    str(theirs.fileno()), os.fspath(folder), scheme,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                # NumPy would start a thread for each core, and reserve memory for it.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        self._number = number
        self.ready = False
        self.under_way: deque[list[Job]] = deque()

    @property
    def connection(self) -> "Connection[bytes, bytes]":
        """What can be read when the worker has something to say, or has ended."""
        return self._connection

    def take_from(self, chunks: Chunks) -> None:
        """Hand out as many chunks as a worker has ahead."""
        while self.ready and len(self.under_way) < AHEAD and chunks:
            chunk = chunks.take()
            try:
                self._connection.send_bytes(json.dumps(chunk).encode())
            except OSError:  # it has ended, before it could see this chunk
                chunks.put_back(chunk)
                return
            self.under_way.append(chunk)

    def receive(self) -> Batch | None:
        """The next batch; None when it only says that it is ready.

        Raises EOFError or OSError when it has ended.
        """
        message = self._connection.recv_bytes()
        if not self.ready:
            self.ready = True
            return None
        length = int.from_bytes(message[:4])
        files, words = json.loads(message[4 : 4 + length])
        ids = np.frombuffer(message, np.uint32, offset=4 + length)
        results = [FileResult(*file) for file in files]
        return Batch(self.under_way.popleft(), results, words, ids, self._number)

    def leftovers(self, chunks: Chunks) -> Iterator[Batch]:
        """After its end: give back what was under way, file by file where one may be deadly."""
        suspect = self.under_way.popleft() if self.under_way else []
        for chunk in reversed(self.under_way):
            chunks.put_back(chunk)
        if len(suspect) == 1:
            yield Batch(suspect, [_KILLED], [], np.empty(0, np.uint32))
        else:
            for job in reversed(suspect):
                chunks.put_back([job])

    def stop(self) -> None:
        """End it, whatever it does."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


def _heard(crew: Sequence[Worker], timeout: float | None) -> list[Worker]:
    """The workers that have something to say; waits for one if there is no timeout."""
    if not crew:
        return []
    heard = set(wait([worker.connection for worker in crew], timeout))
    return [worker for worker in crew if worker.connection in heard]


def serve(descriptor: int, folder: str, scheme: str) -> None:
    """Parse what comes through the socket until it is closed: all that a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asked
    reader = Reader(folder, scheme)
    with contextlib.suppress(EOFError, OSError), Connection(descriptor) as connection:
        connection.send_bytes(b"ready")
        while True:
            jobs = [Job(*job) for job in json.loads(connection.recv_bytes())]
            batch = reader.read(jobs)
            answer = json.dumps([batch.files, batch.words]).encode()
            connection.send_bytes(len(answer).to_bytes(4) + answer + batch.ids.tobytes())
