"""What a script ends with, whatever it raises."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import jax
import pytest

from jaxmusic.cli import run_script
from jaxmusic.config import ConfigError
from jaxmusic.distributed.signals import Stopped, Terminated
from jaxmusic.errors import UserError


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


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
        (errno.ENOSPC, None, "No space left on device. Mend that, and start the same command"),
        (errno.EIO, 3, "Input/output error. Mend that, and start the same command again."),
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
def test_too_little_memory_is_told(
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
