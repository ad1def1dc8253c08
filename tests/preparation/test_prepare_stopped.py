"""Preparing that is stopped, at any moment, or that two processes do at once."""

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.midi_files import write_song
from helpers.preparations import Parsed, files_of

from jaxmusic.corpus.corpus import Corpus
from jaxmusic.preparation import worker_pool as workers
from jaxmusic.preparation.corpus_folder import lock_path
from jaxmusic.preparation.prepare import prepare
from jaxmusic.storage.file_lock import Owner, hold_lock


def test_a_stopped_preparation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        write_song(tmp_path / "in" / f"{number:02}.mid", 20 + number, seed=number)
    (tmp_path / "in" / "03.mid").write_bytes(b"bad")
    whole = files_of(prepare(tmp_path / "in", tmp_path / "whole", workers=1))
    monkeypatch.setattr(workers.JobQueue, "FILES", 2)
    for stop in range(12):
        out = tmp_path / f"out{stop}"
        Parsed(monkeypatch, stop_at=stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "in", out, workers=1)
        assert not out.exists()
        parsed, logged = Parsed(monkeypatch), list[str]()
        corpus = prepare(tmp_path / "in", out, workers=1, log=logged.append)
        kept = stop // 2 * 2  # files of whole portions
        assert parsed.count == 12 - kept
        assert logged == ([f"Going on: {kept} files were read before a stop."] if kept else [])
        assert files_of(corpus) == whole
        assert not list(tmp_path.glob(".*"))


def test_bringing_up_to_date_can_be_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old songs, songs read before the stop and after it come together, in the one order."""
    monkeypatch.setattr(workers.JobQueue, "FILES", 1)
    for number in range(9):
        write_song(tmp_path / "in" / f"{number}.mid", 20 + number, seed=number)
    before = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    (tmp_path / "in" / "0.mid").unlink()
    write_song(tmp_path / "in" / "1.mid", 70, seed=60)  # changed
    write_song(tmp_path / "in" / "4a.mid", 80, seed=61)
    write_song(tmp_path / "in" / "8.mid", 90, seed=62)
    Parsed(monkeypatch, stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert Corpus.open(tmp_path / "out").digest == before.digest  # the old one is whole
    write_song(tmp_path / "in" / "4a.mid", 50, seed=63)  # changed again, after it was read
    (tmp_path / "in" / "2.mid").unlink()
    parsed = Parsed(monkeypatch)
    after = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert parsed.count == 2  # 4a.mid and 8.mid
    assert files_of(after) == files_of(prepare(tmp_path / "in", tmp_path / "fresh", workers=1))


PREPARE = """
import sys
import threading
from jaxmusic.preparation import worker_pool as workers
from jaxmusic.preparation.prepare import prepare
workers.JobQueue.FILES = 2
workers.SIZE_FOR_A_WORKER = 1
print("started", flush=True)
prepare(sys.argv[1], sys.argv[2], workers=2, log=lambda line: print(line, flush=True))
"""


def never(owner: Owner | None) -> None:
    raise AssertionError(f"{owner} was waited for")


def start_preparing(tmp_path: Path, out: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREPARE, str(tmp_path / "in"), str(tmp_path / out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def journal_size(tmp_path: Path) -> int:
    """Of the longest journal of a preparation under way."""
    sizes = [0]
    for journal in tmp_path.glob(".out.partial-*/journal.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(journal.stat().st_size)
    return max(sizes)


@pytest.mark.slow
def test_killed_at_any_time_it_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    for number in range(150):
        write_song(tmp_path / "in" / f"{number}.mid", 300, seed=number)
    whole = files_of(prepare(tmp_path / "in", tmp_path / "whole", workers=1))
    size, kills = 0, 0
    for _ in range(4):
        process = start_preparing(tmp_path, "out")
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            time.sleep(0.002)
            if journal_size(tmp_path) > size + 3000:
                process.kill()
        process.stdout.close()
        kills += process.wait() == -signal.SIGKILL
        size = journal_size(tmp_path)
    assert kills >= 2
    assert files_of(prepare(tmp_path / "in", tmp_path / "out", workers=2)) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "whole"]


@pytest.mark.slow
def test_two_processes_at_once_make_one_corpus(tmp_path: Path) -> None:
    for number in range(60):
        write_song(tmp_path / "in" / f"{number}.mid", 200, seed=number)
    whole = files_of(prepare(tmp_path / "in", tmp_path / "whole", workers=1))
    with hold_lock(lock_path(tmp_path / "out"), never):
        all_three = [start_preparing(tmp_path, "out") for _ in range(3)]
        for process in all_three:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            assert process.stdout.readline().startswith("Another process is preparing")
    for process in all_three:
        process.communicate(timeout=60)
    assert [process.returncode for process in all_three] == [0, 0, 0]
    assert files_of(Corpus.open(tmp_path / "out")) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "whole"]


def test_a_swap_stopped_half_way_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    whole = files_of(corpus)
    parsed = Parsed(monkeypatch)
    corpus.path.rename(
        tmp_path / ".out.replaced-0123abcd"
    )  # stopped before the new one was in place
    assert files_of(prepare(tmp_path / "in", tmp_path / "out", workers=1)) == whole
    shutil.copytree(tmp_path / "out", tmp_path / ".out.replaced-0123abcd")  # stopped after that
    assert files_of(prepare(tmp_path / "in", tmp_path / "out", workers=1)) == whole
    assert parsed.count == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_who_waited_sees_the_files_that_came_meanwhile(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    is_logged = threading.Event()

    def wait_and_prepare() -> None:
        prepare(tmp_path / "in", tmp_path / "out", workers=1, log=lambda line: is_logged.set())

    waiting = threading.Thread(target=wait_and_prepare)
    with hold_lock(lock_path(tmp_path / "out"), never):
        waiting.start()
        assert is_logged.wait(20)
        write_song(tmp_path / "in" / "b.mid", 30)
    waiting.join(20)
    assert Corpus.open(tmp_path / "out").songs == ["a.mid", "b.mid"]


NO_LOCK = """
import contextlib, sys, time
from pathlib import Path
from types import SimpleNamespace
from jaxmusic.preparation import corpus_folder, parsing, worker_pool as workers
from jaxmusic.preparation.prepare import prepare
from jaxmusic.cli import run_script

@contextlib.contextmanager
def no_lock(path, on_wait, **options):
    yield SimpleNamespace(waited=False, check=lambda quick=False: None)

def slow(*arguments, **options):
    time.sleep(float(sys.argv[3]))
    return parse(*arguments, **options)

corpus_folder.hold_lock = no_lock
parse, parsing.parse_counted = parsing.parse_counted, slow
workers.JobQueue.FILES = 2
sys.exit(run_script(lambda: prepare(sys.argv[1], sys.argv[2], workers=1)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("delays", [(0.02, 0.02), (0.0, 0.03), (0.03, 0.01)])
def test_without_a_lock_no_wrong_corpus_is_put_into_place(
    tmp_path: Path, delays: tuple[float, float]
) -> None:
    """As on a file system whose locks hold nobody back: right, or a sentence."""
    for number in range(12):
        write_song(tmp_path / "in" / f"{number}.mid", 200, seed=number)
    whole = files_of(prepare(tmp_path / "in", tmp_path / "whole", workers=1))
    command = [sys.executable, "-c", NO_LOCK, str(tmp_path / "in"), str(tmp_path / "out")]
    both = [
        subprocess.Popen([*command, str(delay)], stderr=subprocess.PIPE, text=True)
        for delay in delays
    ]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == (1 if said else 0)
        assert said.count("\n") <= 1 and "Traceback" not in said, said
    if (tmp_path / "out").exists():
        assert files_of(Corpus.open(tmp_path / "out")) == whole
    assert files_of(prepare(tmp_path / "in", tmp_path / "out", workers=1)) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "whole"]
