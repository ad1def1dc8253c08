"""Parsing many MIDI files in worker processes; a bad file, even a deadly one, costs only itself."""

import hashlib
import multiprocessing
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from jaxmusic.midi import MidiError
from jaxmusic.tokens import read_tokens

CHUNK = 8  # files handed to a worker at a time
CHUNKS_AHEAD = 4  # chunks under way for each worker: keeps it busy, and memory flat


Job = tuple[Path, str, str | None, str]  # folder, path, known digest, scheme


@dataclass(frozen=True)
class FileResult:
    """What a worker makes of one file."""

    path: str  # relative to the folder
    size: int = 0  # bytes
    digest: str = ""  # of the bytes
    tokens: list[str] = field(default_factory=list)
    reason: str = ""  # why it can't be read
    unchanged: bool = False  # the bytes are the known ones, and were not parsed


def parse_files(
    folder: Path, paths: Sequence[str], known: Mapping[str, str], *, scheme: str, workers: int
) -> Iterator[FileResult]:
    """Parse files of a folder, in their order, in `workers` processes (1: in this one).

    `known` maps paths to the digests of files that need no parsing.
    """
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    jobs: list[list[Job]] = [
        [(folder, path, known.get(path), scheme) for path in chunk] for chunk in chunks
    ]
    workers = min(workers, len(jobs))
    if workers <= 1:
        for job in jobs:
            yield from _parse_chunk(job)
        return
    waiting = deque(jobs)
    under_way: deque[tuple[list[Job], Future[list[FileResult]]]] = deque()
    pool = _pool(workers)
    try:
        while waiting or under_way:
            try:
                while waiting and len(under_way) < workers * CHUNKS_AHEAD:
                    under_way.append((waiting[0], pool.submit(_parse_chunk, waiting[0])))
                    waiting.popleft()
                results = under_way[0][1].result()
            except BrokenProcessPool:
                # A worker was killed, and all that was under way with it. Take the first chunk
                # file by file, each in a process of its own, and hand out the others again.
                pool.shutdown(wait=True)
                waiting.extendleft(job for job, _ in reversed(under_way))
                under_way.clear()
                results = [_parse_alone(job) for job in waiting.popleft()]
                pool = _pool(workers)
            else:
                under_way.popleft()
            yield from results
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork of a process in which JAX runs threads may hang.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _parse_chunk(jobs: list[Job]) -> list[FileResult]:
    return [_parse(*job) for job in jobs]


def _parse_alone(job: Job) -> FileResult:
    with _pool(1) as pool:
        try:
            return pool.submit(_parse, *job).result()
        except BrokenProcessPool:
            return FileResult(job[1], reason="the process that read it was killed")


def _parse(folder: Path, path: str, known_digest: str | None, scheme: str) -> FileResult:
    try:
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            return FileResult(path, reason="it is a link out of the folder")
        data = (folder / path).read_bytes()
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        if digest == known_digest:
            return FileResult(path, len(data), digest, unchanged=True)
        try:
            return FileResult(path, len(data), digest, read_tokens(folder / path, scheme))
        except MidiError as error:
            return FileResult(path, len(data), digest, reason=str(error))
    except OSError as error:
        return FileResult(path, reason=f"it can't be opened: {error.strerror or error}")
