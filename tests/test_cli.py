"""The command `jaxmusic`, and what a command ends with, whatever it raises."""

import errno
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import jax
import pytest
from helpers.midi_files import write_song
from helpers.paths import ROOT

from jaxmusic import cli
from jaxmusic.cli import COMMANDS, run_script
from jaxmusic.config import ConfigError
from jaxmusic.distributed.signals import Stopped, Terminated
from jaxmusic.errors import UserError


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run_jaxmusic(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "jaxmusic", *arguments], capture_output=True, text=True, check=False
    )


def test_help_lists_the_commands_and_imports_none() -> None:
    code = """
import sys
from jaxmusic.cli import main
sys.argv = ["jaxmusic", "--help"]
assert main() == 0
heavy = {"jax", "numpy", "tyro"} & set(sys.modules)
assert not heavy, heavy
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    for name, command in COMMANDS.items():
        (line,) = [line for line in ran.stdout.splitlines() if line.split()[:1] == [name]]
        assert line.endswith(command.summary)


def test_the_version_is_the_packages() -> None:
    assert run_jaxmusic("--version").stdout == f"jaxmusic {version('jaxmusic')}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "Error: There is no command trian: give one of prepare, train, generate, "),
        ([], "Error: The command is missing: give one of prepare, train, generate, "),
    ],
)
@pytest.mark.raises_at("jaxmusic/cli.py:_answer")
def test_a_command_line_without_a_known_command_is_an_error(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["jaxmusic", *arguments])
    assert cli.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(words)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_script_and_the_command_are_the_same(name: str) -> None:
    """The help texts are equal but for the program's name, and no JAX is imported for flags."""
    script = ROOT / "scripts" / f"{name}.py"
    ran = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=False
    )
    theirs = run_jaxmusic(name, "--help")
    assert (ran.returncode, theirs.returncode) == (0, 0)
    assert f"usage: {name}.py" in ran.stdout and f"usage: jaxmusic {name}" in theirs.stdout
    ours, theirs_words = (
        " ".join(text.split("[-h]", 1)[1].split()) for text in (ran.stdout, theirs.stdout)
    )
    assert ours == theirs_words
    assert len(script.read_text(encoding="utf-8").splitlines()) < 60


def test_a_command_runs_to_its_end_by_either_name(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 120)
    ran = run_jaxmusic("prepare", str(tmp_path / "in"), "--corpus", str(tmp_path / "corpus"))
    assert ran.returncode == 0, ran.stderr
    assert "20 windows of 100" in ran.stdout
    ran = run_jaxmusic("prepare", "nowhere", "--corpus", str(tmp_path / "other"))
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)


def test_the_wheel_has_all_that_the_commands_need() -> None:
    """Every package, and the sources of the kernel that is compiled where it runs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"jaxmusic": "jaxmusic.cli:main"}
    data = project["tool"]["setuptools"]["package-data"]
    for path in (ROOT / "jaxmusic").rglob("*.*"):
        if path.suffix == ".py":
            assert (path.parent / "__init__.py").exists(), path
        elif path.suffix != ".pyc":
            package = next(folder for folder in path.parents if (folder / "__init__.py").exists())
            patterns = data[".".join(package.relative_to(ROOT).parts)]
            assert any(path.relative_to(package).match(pattern) for pattern in patterns), path


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("No."), 1),
        (ConfigError("No."), 2),
        (Stopped(signal.SIGTERM), 75),
        (Stopped(signal.SIGINT), 130),
        (Terminated(), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(raising(error)) == code
    assert capsys.readouterr().err == ("Error: No.\n" if isinstance(error, UserError) else "")
    assert run_script(lambda: None) == 0


@pytest.mark.parametrize(
    ("number", "name", "words"),
    [
        (errno.ENOENT, "a/b", "a/b can't be used: No such file or directory. See that it is there"),
        (errno.EACCES, "a", "a can't be used: Permission denied. See that you may read and write"),
        (errno.EISDIR, "a", "a can't be used: Is a directory. Give another path, or move away wha"),
        (errno.ENOTDIR, "a", "a can't be used: Not a directory. Give another path, or move away"),
        (errno.EEXIST, "a\n", r"a\n can't be used: File exists. Give another path, or move away"),
        (errno.ENOSPC, None, "No space left on device. Fix that, and start the same command"),
        (errno.EIO, 3, "Input/output error. Fix that, and start the same command again."),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_told_with_what_to_do(
    number: int, name: str | int | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(raising(OSError(number, os.strerror(number), name))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {words}") and line.endswith(" the same command again.")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "Error: There is too little memory for this: give smaller sizes, "),
        (MemoryError("Unable to allocate 1. TiB"), "this (Unable to allocate 1. TiB): give"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nIn"),
            "for this (Out of memory allocating 9 bytes): give smaller sizes, ",
        ),
        (
            jax.errors.JaxRuntimeError(
                "INTERNAL: Error dispatching computation: Out of memory allocating 9 bytes."
            ),
            "for this (Out of memory allocating 9 bytes): give smaller sizes, ",
        ),
        (
            jax.errors.JaxRuntimeError("INTERNAL: Error: XLA FFI call failed: std::bad_alloc"),
            "for this (std::bad_alloc): give smaller sizes, ",
        ),
        (RuntimeError("can't start new thread"), "for this (can't start new thread): give"),
    ],
)
def test_too_little_memory_is_reported(
    error: Exception, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(raising(error)) == 1
    assert words in capsys.readouterr().err


def test_what_nobody_foresaw_is_shown_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="else"):
        run_script(raising(RuntimeError("else")))


CALLBACK = """
import gc, signal, sys, time
from jaxmusic.cli import run_script

def main():
    def callback(phase, info):
        gc.callbacks.clear()
        signal.raise_signal(int(sys.argv[1]))
        time.sleep(0)  # Python calls its handler here, and loses what that raises
    gc.callbacks.append(callback)
    gc.collect()
    print("goes on")
    time.sleep(60)

sys.exit(run_script(main))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_in_a_callback_is_not_lost(number: signal.Signals, code: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CALLBACK, str(int(number))],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "goes on\n", "")
