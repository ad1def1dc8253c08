"""Every error that a user can cause: the command, its exit code, the sentence; and that it's all.

The lists are in `mistakes`; what is left to other tests is in `mistakes/elsewhere.py`.
"""

import ast
import builtins
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import helpers.arrangements as a
import pytest
from end_to_end.mistakes.benchmarks import BENCHMARKS
from end_to_end.mistakes.compiling import COMPILING
from end_to_end.mistakes.corpora import CORPORA
from end_to_end.mistakes.elsewhere import ELSEWHERE, Elsewhere
from end_to_end.mistakes.flags import WRONG_FLAGS
from end_to_end.mistakes.hostile import HOSTILE
from end_to_end.mistakes.mistake import ANEW
from end_to_end.mistakes.preparing import FOLDERS, NOTES
from end_to_end.mistakes.runs import RUNS
from end_to_end.mistakes.trying import FAULTS, FUZZING, LARGE_SETS
from end_to_end.mistakes.working import GENERATING, TRAINING
from helpers.command_line import SCRIPTS, run_here

from jaxmusic.errors import UserError

ROOT = SCRIPTS.parent
MISTAKES = [
    *WRONG_FLAGS, *FOLDERS, *NOTES, *CORPORA, *RUNS, *TRAINING, *GENERATING, *LARGE_SETS, *FAULTS,
    *FUZZING, *BENCHMARKS, *COMPILING, *HOSTILE,
]  # fmt: skip


class Raised(NamedTuple):
    """An error that came into being, and the lines of our code that were under way."""

    error: UserError
    lines: frozenset[tuple[str, int]]


class Records:
    """What the list has caused so far."""

    def __init__(self) -> None:
        self.raised: list[Raised] = []  # by the command under way
        self.visited: set[tuple[str, int]] = set()
        self.run: set[int] = set()  # of the list

    def note(self, error: UserError) -> None:
        """An error comes into being."""
        lines = {
            (Path(frame.f_code.co_filename).relative_to(ROOT).as_posix(), line)
            for frame, line in traceback.walk_stack(None)
            if Path(frame.f_code.co_filename).is_relative_to(ROOT)
        }
        self.raised.append(Raised(error, frozenset(lines)))

    def conclude(self, words: str) -> None:
        """A command has ended: errors count that were told, also as a part of a sentence."""
        for error, lines in self.raised:
            told = " ".join(str(getattr(error, "fault", error)).split())
            if told in words:
                self.visited |= lines
        self.raised.clear()


@pytest.fixture(scope="module")
def records() -> Records:
    return Records()


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished") / "folder"
    a.furnish(folder)
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
def test_a_mistake_is_told_in_one_clear_sentence(
    furnished: Path,
    records: Records,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    command, code, words, arranged = MISTAKES[number]
    folder = Path(shutil.copytree(furnished, tmp_path / "work"))
    made = UserError.__init__

    def init(self: UserError, *arguments: object) -> None:
        made(self, *arguments)
        records.note(self)

    with contextlib.ExitStack() as stack:
        monkeypatch.syspath_prepend(SCRIPTS)
        arranged(a.Stage(folder, monkeypatch, stack))
        monkeypatch.setattr(UserError, "__init__", init)
        ended = run_here(folder, command, monkeypatch=monkeypatch, capsys=capsys)
    records.run.add(number)
    records.conclude(ended.words)
    assert ended.code == code, ended.words
    missing = [word for word in words.split() if word.casefold() not in ended.words.casefold()]
    assert not missing, ended.words
    assert ended.words.isprintable()  # and nothing in it is a control sequence
    assert "Traceback" not in ended.words and "[Errno" not in ended.words
    if code and "For full helptext" not in ended.errors:  # else tyro tells it, in a box
        last = ended.errors.splitlines()[-1]
        assert last.startswith("Error: ") and last.endswith("."), last
        assert last.count(". ") <= 3 and len(last) < 500, last


# That these are all of them.


class Place(NamedTuple):
    """A `raise` of a UserError."""

    file: str
    function: str
    lines: range
    text: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.function}"


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("jaxmusic", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def other_errors() -> set[str]:
    """Names of all classes of errors that are no UserError: Python's own, and ours."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    users = {"UserError"}
    while more := {name for name, above in bases.items() if above & users} - users:
        users |= more
    assert {"ConfigError", "DamagedCorpusError", "WrongResultError"} <= users
    return (set(bases) | set(vars(builtins))) - users


def raises_of(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.Raise]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Raise):
            yield function, node
        yield from raises_of(node, node.name if isinstance(node, ast.FunctionDef) else function)


@functools.cache
def all_places() -> list[Place]:
    """Where a UserError is raised. (What isn't called, `raise error`, was raised before.)"""
    others = other_errors()
    return [
        Place(file, function, range(node.lineno, (node.end_lineno or 0) + 1), ast.unparse(node))
        for file, tree in sources()
        for function, node in raises_of(tree)
        if isinstance(node.exc, ast.Call)
        and ast.unparse(node.exc.func).split(".")[-1] not in others
    ]


def test_every_error_is_caused_by_a_mistake_of_the_list(records: Records) -> None:
    if len(records.run) < len(MISTAKES):
        pytest.skip("not all of the list was run here")
    missing = [
        f"{place.name}, line {place.lines[0]}: {place.text}"
        for place in all_places()
        if not any((place.file, line) in records.visited for line in place.lines)
        and not any(each.place == place.name and each.words in place.text for each in ELSEWHERE)
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("each", ELSEWHERE, ids=lambda each: each.place)
def test_what_is_left_to_other_tests_is_there(each: Elsewhere) -> None:
    assert any(each.place == place.name and each.words in place.text for place in all_places())
    file, name = each.test.split(":")
    tests = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8")).body
    assert name in {test.name for test in tests if isinstance(test, ast.FunctionDef)}


def test_too_little_memory_is_told(furnished: Path) -> None:
    """In a process of its own: JAX may abort or hang after an allocation that was refused."""
    script, *arguments = f"{ANEW} --hidden-size 3000000".split()
    ran = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        cwd=furnished, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and last.endswith("."), ran.stderr
    assert "memory" in last and "144000000000000" in last and "smaller" in last, last
    shutil.rmtree(furnished / "new", ignore_errors=True)
