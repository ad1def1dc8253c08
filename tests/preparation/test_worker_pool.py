"""Processes that parse."""

import itertools
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.midi_files import write_song

from jaxmusic.preparation import parsing
from jaxmusic.preparation import worker_pool as workers
from jaxmusic.preparation.parsing import Batch, Job
from jaxmusic.preparation.worker_pool import JobQueue, Worker, parse_files

# A worker that is killed (as by the system, out of memory) over one file.
DEADLY = """
import os, signal
from jaxmusic.preparation import parsing
parse = parsing.parse_counted
def parse_or_die(data, scheme):
    if data == b"deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return parse(data, scheme)
parsing.parse_counted = parse_or_die
parsing.main()
"""


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Songs of 5, 6, 7, ... tokens."""
    for number in range(30):
        write_song(tmp_path / f"{number:02}.mid", 5 + number, seed=number)
    return [Job(number, f"{number:02}.mid", 100) for number in range(30)]


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.JobQueue, "FILES", 4)
    monkeypatch.setattr(workers, "SIZE_FOR_A_WORKER", 1)
    monkeypatch.setattr(workers, "OWN_FILE_SIZE", 0)  # the parent leaves all to the workers


def parse(folder: Path, jobs: list[Job], count: int, program: str | None = None) -> list[Batch]:
    worker = workers.WORKER if program is None else ("-c", program)
    return list(
        parse_files(folder, jobs, scheme="classic", workers=count, size=10**9, worker=worker)
    )


def lengths(batches: list[Batch]) -> dict[int, int]:
    return {
        job.number: file.tokens
        for batch in batches
        for job, file in zip(batch.jobs, batch.results, strict=True)
    }


def test_workers_parse_every_file_once(tmp_path: Path, jobs: list[Job]) -> None:
    batches = parse(tmp_path, jobs, 3)
    assert sum(len(batch.jobs) for batch in batches) == 30
    assert lengths(batches) == {number: 5 + number for number in range(30)}
    assert {batch.reader for batch in batches} <= {1, 2}
    # The ids of each reader mean the tokens that it reported, in all of its batches.
    own = {batch.jobs[0].number: batch for batch in parse(tmp_path, jobs, 1)}
    words: dict[int, list[str]] = {0: []}
    for place in sorted(own):
        words[0] += own[place].new_tokens
    for batch in batches:
        tokens = words.setdefault(batch.reader, [])
        tokens += batch.new_tokens
        same = own[batch.jobs[0].number]
        assert [tokens[k] for k in batch.ids] == [words[0][k] for k in same.ids]


def test_a_file_that_kills_its_process_costs_only_itself(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "17.mid").write_bytes(b"deadly")
    batches = parse(tmp_path, jobs, 3, DEADLY)
    found = lengths(batches)
    assert found.pop(17) == 0
    assert found == {number: 5 + number for number in range(30) if number != 17}
    assert sum(len(batch.jobs) for batch in batches) == 30
    killed = [file for batch in batches for file in batch.results if "killed" in file.reason]
    assert len(killed) == 1


@pytest.mark.slow
def test_a_file_over_which_a_process_falls_silent_costs_only_itself(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "17.mid").write_bytes(b"deadly")
    hangs = DEADLY.replace("os.kill(os.getpid(), signal.SIGKILL)", "signal.pause()")
    monkeypatch.setattr(workers, "PATIENCE", 4)
    batches = parse(tmp_path, jobs, 3, hangs)
    found = lengths(batches)
    assert found.pop(17) == 0
    assert found == {number: 5 + number for number in range(30) if number != 17}
    reasons = [file.reason for batch in batches for file in batch.results if file.reason]
    assert reasons == ["reading it took longer than 4 seconds"]


def test_time_in_which_all_stood_still_is_not_counted(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine was asleep: an hour passes from each look to the next."""
    hours = itertools.count(0, 3600)
    monkeypatch.setattr(time, "monotonic", lambda: next(hours))
    batches = parse(tmp_path, jobs, 2)
    assert lengths(batches) == {number: 5 + number for number in range(30)}
    assert {batch.reader for batch in batches} == {1}  # it was not given up


def test_suspects_are_never_read_by_this_process(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where no second worker can be started."""
    (tmp_path / "17.mid").write_bytes(b"deadly")
    flag = tmp_path / "flag"
    once = f"import os; os.mkdir({str(flag)!r})\n"  # the second one fails
    batches = parse(tmp_path, jobs, 2, once + DEADLY)
    monkeypatch.setattr(parsing, "parse_counted", None)  # would be called
    files = {
        job.number: file
        for batch in batches
        for job, file in zip(batch.jobs, batch.results, strict=True)
    }
    assert len(files) == 30 and "killed" in files[17].reason
    assert (
        all(file.tokens == 5 + place for place, file in files.items() if not file.reason)
        and 1 <= sum(bool(file.reason) for file in files.values()) <= 4
    )


def test_large_files_go_to_a_worker_where_none_pays(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "OWN_FILE_SIZE", 999)
    large = [*jobs[:-1], Job(29, "29.mid", 1000)]
    batches = parse(tmp_path, large, 1)
    assert lengths(batches) == {number: 5 + number for number in range(30)}
    (reader,) = {each.reader for each in batches if 29 in [job.number for job in each.jobs]}
    assert reader == 1


def test_a_worker_has_so_much_memory_and_no_more(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "17.mid").write_bytes(b"deadly")
    greedy = DEADLY.replace("os.kill(os.getpid(), signal.SIGKILL)", "bytearray(2**33)")
    batches = parse(tmp_path, jobs, 2, greedy)
    reasons = [file.reason for batch in batches for file in batch.results if file.reason]
    assert len(reasons) == 1 and "a fault of the reader: MemoryError" in reasons[0]


def test_without_workers_this_process_does_it_all(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = parse(tmp_path, jobs, 3, "raise SystemExit(1)")
    assert lengths(batches) == {number: 5 + number for number in range(30)}
    assert {batch.reader for batch in batches} == {0}


def test_a_system_that_starts_no_processes_is_no_obstacle(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    batches = parse(tmp_path, jobs, 3)
    assert lengths(batches) == {number: 5 + number for number in range(30)}
    assert {batch.reader for batch in batches} == {0}


def test_few_files_start_no_worker(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SIZE_FOR_A_WORKER", 1000)
    monkeypatch.setattr(workers, "OWN_FILE_SIZE", 2**20)
    monkeypatch.setattr(workers, "Worker", None)  # would be called
    batches = list(parse_files(tmp_path, jobs, scheme="classic", workers=3, size=999))
    assert lengths(batches) == {number: 5 + number for number in range(30)}


def test_a_worker_ends_with_the_one_who_asked(tmp_path: Path, jobs: list[Job]) -> None:
    worker = Worker(tmp_path, "classic")
    assert list(worker.receive()) == []  # it is ready
    worker.take_from(JobQueue(jobs))
    assert next(worker.receive()).ids.dtype == np.uint32
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
