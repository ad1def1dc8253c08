"""Every error that a user can cause: the command, its exit code, the sentence; and that it's all.

The lists are in `mistakes`. An error that no single command causes has a test of its own, which is
marked `raises_at`: it takes several processes, a compiler for TPUs, a file changed meanwhile.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import helpers.arrangements as a
import pytest
from end_to_end.mistakes.benchmarks import BENCHMARKS
from end_to_end.mistakes.compiling import COMPILING
from end_to_end.mistakes.corpora import CORPORA
from end_to_end.mistakes.flags import WRONG_FLAGS
from end_to_end.mistakes.hostile import HOSTILE
from end_to_end.mistakes.mistake import ANEW
from end_to_end.mistakes.preparing import FOLDERS, NOTES
from end_to_end.mistakes.runs import RUNS
from end_to_end.mistakes.trying import FAULTS, FUZZING, LARGE_SETS
from end_to_end.mistakes.working import EVALUATING, GENERATING, TRAINING
from helpers.command_line import run_here
from helpers.paths import SCRIPTS
from helpers.raise_sites import Raised, marked_places, raise_sites, record_errors

MISTAKES = [
    *WRONG_FLAGS, *FOLDERS, *NOTES, *CORPORA, *RUNS, *TRAINING, *GENERATING, *EVALUATING,
    *LARGE_SETS, *FAULTS, *FUZZING, *BENCHMARKS, *COMPILING, *HOSTILE,
]  # fmt: skip


class Records:
    """What the list has caused so far."""

    def __init__(self) -> None:
        self.visited: set[tuple[str, int]] = set()
        self.run: set[int] = set()  # of the list

    def add(self, number: int, raised: list[Raised], words: str) -> None:
        """Add the errors of one command that were printed, also as a part of a sentence."""
        self.run.add(number)
        for error, lines in raised:
            if " ".join(str(getattr(error, "fault", error)).split()) in words:
                self.visited |= lines


@pytest.fixture(scope="module")
def records() -> Records:
    return Records()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs") / "folder"
    a.make_inputs(folder)
    return folder


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that a script changes in its process is left to the next."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    environment = dict(os.environ)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(environment)


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda n: MISTAKES[n].command[:60])
def test_a_mistake_gives_one_clear_sentence(
    inputs: Path,
    records: Records,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    command, code, words, arranged = MISTAKES[number]
    folder = Path(shutil.copytree(inputs, tmp_path / "work"))
    with contextlib.ExitStack() as stack:
        monkeypatch.syspath_prepend(SCRIPTS)
        arranged(a.Workplace(folder, monkeypatch, stack))
        raised = stack.enter_context(record_errors())
        ended = run_here(folder, command, monkeypatch=monkeypatch, capsys=capsys)
    records.add(number, raised, ended.words)
    assert ended.code == code, ended.words
    missing = [word for word in words.split() if word.casefold() not in ended.words.casefold()]
    assert not missing, ended.words
    assert ended.words.isprintable()  # and nothing in it is a control sequence
    assert "Traceback" not in ended.words and "[Errno" not in ended.words
    if code and "For full helptext" not in ended.errors:  # else tyro prints it, in a box
        last = ended.errors.splitlines()[-1]
        assert last.startswith("Error: ") and last.endswith("."), last
        assert last.count(". ") <= 3 and len(last) < 500, last


def test_every_error_is_caused_by_the_list_or_a_marked_test(records: Records) -> None:
    if len(records.run) < len(MISTAKES):
        pytest.skip("not all of the list was run here")
    elsewhere = list(marked_places())
    missing = [
        f"{site.file}:{site.function}, line {site.lines[0]}: {site.text}"
        for site in raise_sites()
        if not site.is_among(records.visited)
        and not any(site.is_at(place, words) for place, words in elsewhere)
    ]
    assert not missing, "\n".join(missing)


def test_too_little_memory_gives_a_sentence(inputs: Path) -> None:
    """In a process of its own: JAX may abort or hang after an allocation that was refused."""
    script, *arguments = f"{ANEW} --hidden-size 3000000".split()
    ran = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        cwd=inputs, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and last.endswith("."), ran.stderr
    assert "memory" in last and "144000000000000" in last and "smaller" in last, last
    shutil.rmtree(inputs / "new", ignore_errors=True)
