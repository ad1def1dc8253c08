"""Where our sources raise errors for users, and which of these places a test reached."""

import ast
import builtins
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.paths import ROOT

from jaxmusic.errors import UserError


class RaiseSite(NamedTuple):
    """A `raise` of a UserError."""

    file: str  # relative to the repository
    function: str
    lines: range
    text: str  # the statement

    def is_at(self, place: str, words: str) -> bool:
        """Whether this is in `place`, "file:function", and its statement contains the words."""
        return f"{self.file}:{self.function}" == place and words in self.text

    def is_among(self, lines: Iterable[tuple[str, int]]) -> bool:
        return any(file == self.file and line in self.lines for file, line in lines)


class Raised(NamedTuple):
    """An error that was made, and the lines of our code that were running then."""

    error: UserError
    lines: frozenset[tuple[str, int]]


@contextmanager
def record_errors() -> Iterator[list[Raised]]:
    """Record every UserError that is made in this process, in any thread."""
    raised: list[Raised] = []
    original = UserError.__init__

    def record(self: UserError, *arguments: object) -> None:
        original(self, *arguments)
        lines = {
            (Path(frame.f_code.co_filename).relative_to(ROOT).as_posix(), line)
            for frame, line in traceback.walk_stack(sys._getframe(1))
            if Path(frame.f_code.co_filename).is_relative_to(ROOT)
        }
        raised.append(Raised(self, frozenset(lines)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UserError, "__init__", record)
        yield raised


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("jaxmusic", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def _other_errors() -> set[str]:
    """Names of all error classes that don't derive from UserError: Python's own, and ours."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for _, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    users = {"UserError"}
    while more := {name for name, above in bases.items() if above & users} - users:
        users |= more
    assert {"ConfigError", "DamagedCorpusError", "WrongLossError"} <= users
    return (set(bases) | set(vars(builtins))) - users


def _raises_of(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.Raise]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Raise):
            yield function, node
        yield from _raises_of(node, node.name if isinstance(node, ast.FunctionDef) else function)


def _sites_of(file: str, tree: ast.Module) -> list[RaiseSite]:
    """All places that make an error. (`raise error` passes on one made before.)"""
    return [
        RaiseSite(file, function, range(node.lineno, (node.end_lineno or 0) + 1), ast.unparse(node))
        for function, node in _raises_of(tree)
        if isinstance(node.exc, ast.Call)
    ]


def raise_sites() -> list[RaiseSite]:
    """All places where a UserError is raised."""
    others = _other_errors()
    return [
        site
        for file, tree in _sources()
        for site in _sites_of(file, tree)
        if re.split(r"[ (]", site.text)[1].split(".")[-1] not in others
    ]


def assert_reached(raised: list[Raised], place: str, words: str = "") -> None:
    """An error was made by a `raise` at this place."""
    file = place.split(":", maxsplit=1)[0]
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    sites = [site for site in _sites_of(file, tree) if site.is_at(place, words)]
    assert sites, f"{place} raises no error with {words!r}"
    reached = any(site.is_among(lines) for site in sites for _, lines in raised)
    assert reached, f"the test is marked to raise at {place} {words!r}, and did not"


def marked_places() -> Iterator[tuple[str, str]]:
    """The arguments of all marks `raises_at` in the tests."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.raises_at" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.raises_at":
                place, *words = (ast.literal_eval(argument) for argument in node.args)
                yield place, "".join(words)
