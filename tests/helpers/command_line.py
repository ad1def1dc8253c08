"""Scripts run in the tests' own process: a process of its own takes seconds."""

import runpy
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.paths import SCRIPTS


def script_path(name: str) -> Path:
    """A script that users type, or one for those who work on the project."""
    path = SCRIPTS / name
    return path if path.exists() else SCRIPTS / "dev" / name


class Ended(NamedTuple):
    """How a script ended."""

    code: int
    words: str  # all that it said, in a line
    errors: str  # what it said on standard error, as it said it


def run_here(
    cwd: Path,
    command: str,
    *,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Ended:
    """Run `train.py --epochs 3`, or the like. What would be a traceback is an exception here."""
    script, *arguments = shlex.split(command)
    monkeypatch.chdir(cwd)
    path = script_path(script)
    monkeypatch.syspath_prepend(path.parent)  # as Python does for a script
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return Ended(ended.value.code, " ".join((said.out + said.err).split()), said.err)
