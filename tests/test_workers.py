"""Processes that parse."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from midi_files import write_song

from jaxmusic import parsing, workers
from jaxmusic.parsing import Batch, Chunks, Job
from jaxmusic.workers import Worker, parse_files

# A worker that is killed (as by the system, out of memory) over one file.
DEADLY = """
import os, signal
from jaxmusic import parsing
parse = parsing.parse_tokens
def parse_or_die(data, scheme):
    if data == b"deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return parse(data, scheme)
parsing.parse_tokens = parse_or_die
"""


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Songs of 5, 6, 7, ... tokens."""
    for number in range(30):
        write_song(tmp_path / f"{number:02}.mid", 5 + number, seed=number)
    return [Job(number, f"{number:02}.mid", 100) for number in range(30)]


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing.Chunks, "FILES", 4)
    monkeypatch.setattr(workers, "SIZE_FOR_A_WORKER", 1)
    monkeypatch.setattr(workers, "OWN_FILE_SIZE", 0)  # the parent leaves all to the workers


def parse(folder: Path, jobs: list[Job], count: int) -> list[Batch]:
    return list(parse_files(folder, jobs, scheme="classic", workers=count, size=10**9))


def lengths(batches: list[Batch]) -> dict[int, int]:
    return {
        job.place: file.tokens
        for batch in batches
        for job, file in zip(batch.jobs, batch.files, strict=True)
    }


def test_workers_parse_every_file_once(tmp_path: Path, jobs: list[Job]) -> None:
    batches = parse(tmp_path, jobs, 3)
    assert sum(len(batch.jobs) for batch in batches) == 30
    assert lengths(batches) == {number: 5 + number for number in range(30)}
    assert {batch.reader for batch in batches} <= {1, 2}
    # The ids of each reader mean the words that it told, in all of its batches.
    own = {batch.jobs[0].place: batch for batch in parse(tmp_path, jobs, 1)}
    words: dict[int, list[str]] = {0: []}
    for place in sorted(own):
        words[0] += own[place].words
    for batch in batches:
        told = words.setdefault(batch.reader, [])
        told += batch.words
        same = own[batch.jobs[0].place]
        assert [told[k] for k in batch.ids] == [words[0][k] for k in same.ids]


def test_a_file_that_kills_its_process_costs_only_itself(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "17.mid").write_bytes(b"deadly")
    monkeypatch.setattr(workers, "_START", DEADLY + workers._START)
    batches = parse(tmp_path, jobs, 3)
    found = lengths(batches)
    assert found.pop(17) == 0
    assert found == {number: 5 + number for number in range(30) if number != 17}
    assert sum(len(batch.jobs) for batch in batches) == 30
    killed = [file for batch in batches for file in batch.files if "killed" in file.reason]
    assert len(killed) == 1


def test_without_workers_this_process_does_it_all(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_START", "raise SystemExit(1)")
    batches = parse(tmp_path, jobs, 3)
    assert lengths(batches) == {number: 5 + number for number in range(30)}
    assert {batch.reader for batch in batches} == {0}


def test_few_files_start_no_worker(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SIZE_FOR_A_WORKER", 1000)
    monkeypatch.setattr(workers, "Worker", None)  # would be called
    batches = list(parse_files(tmp_path, jobs, scheme="classic", workers=3, size=999))
    assert lengths(batches) == {number: 5 + number for number in range(30)}


def test_a_worker_ends_with_the_one_who_asked(tmp_path: Path, jobs: list[Job]) -> None:
    worker = Worker(tmp_path, "classic", 1)
    assert worker.receive() is None  # it is ready
    worker.take_from(Chunks(jobs))
    batch = worker.receive()
    assert batch is not None and batch.ids.dtype == np.uint32
    worker.connection.close()  # as the system does it when a process is killed
    assert worker._process.wait(timeout=20) == 0


def test_stopping_early_leaves_no_process(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    batches = parse_files(tmp_path, jobs, scheme="classic", workers=3, size=10**9)
    next(batches)
    batches.close()
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)
