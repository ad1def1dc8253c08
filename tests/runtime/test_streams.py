"""Standard streams that are closed, full, or that nobody reads."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jaxmusic.runtime.streams import flush_streams, is_terminal

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="closes streams as Unix's shells do"
)

CLOSED = """
import os, subprocess, sys
from jaxmusic.runtime.streams import is_terminal, open_missing_streams
open_missing_streams()
open_missing_streams()  # which changes nothing
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
    os.write(1, b"of a library")
    os.write(2, b"of a library")
    print("of ours", flush=True)
    print("of ours", file=sys.stderr, flush=True)
    child = "import os; [os.fstat(number) for number in (0, 1, 2)]"
    subprocess.run([sys.executable, "-c", child], check=True)
    assert sys.stdin.read() == "" and not is_terminal()
    file.write("whole")
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_streams_are_opened_empty(tmp_path: Path, closed: str) -> None:
    written = tmp_path / "file"
    ran = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", CLOSED, str(written)],
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert ran.returncode == 0
    assert written.read_text() == "whole"


def test_without_streams_nothing_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert not is_terminal()
    flush_streams()


PRINTS = """
import os, signal, sys
from jaxmusic.errors import UserError
from jaxmusic.cli import run_script
from jaxmusic.runtime.streams import optional_output

def main():
    sys.stdin.readline()  # until nobody reads any more
    for number in range(10000):
        print(number)
        print(number, file=sys.stderr) if sys.argv[2:] == ["stderr"] else None
    os.write(int(sys.argv[1]), b"done")
    raise UserError("No.")

def needed():
    main()

@optional_output()
def optional():
    main()

sys.exit(run_script(needed if sys.argv[2] == "needed" else optional))
"""


def with_nobody_reading(
    which: str, stdout: int = subprocess.PIPE, stderr_too: bool = False, *options: str
) -> tuple[int, bytes, bytes]:
    """Exit code, what was said on standard error, and what the program did in the end."""
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [sys.executable, *options, "-c", PRINTS, str(theirs), which],
        stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE, pass_fds=[theirs],
    )  # fmt: skip
    os.close(theirs)
    assert process.stdin is not None and process.stderr is not None
    if process.stdout is not None:
        process.stdout.close()
    if stderr_too:
        process.stderr.close()
    process.stdin.write(b"go on\n")
    process.stdin.close()
    errors = b"" if stderr_too else process.stderr.read()
    process.stderr.close()
    with os.fdopen(ours, "rb") as done:
        return process.wait(60), errors, done.read()


@pytest.mark.parametrize("options", [[], ["-u"]])
def test_when_nobody_reads_what_is_needed_the_program_ends_quietly(options: list[str]) -> None:
    assert with_nobody_reading("needed", subprocess.PIPE, False, *options) == (141, b"", b"")


@pytest.mark.parametrize("options", [[], ["-u"]])
def test_when_nobody_reads_what_is_optional_the_work_goes_on(options: list[str]) -> None:
    assert with_nobody_reading("optional", subprocess.PIPE, False, *options) == (
        1,
        b"Standard output can't be written (Broken pipe): the work goes on without.\nError: No.\n",
        b"done",
    )


def test_when_nobody_reads_errors_the_work_goes_on() -> None:
    assert with_nobody_reading("stderr", stderr_too=True) == (1, b"", b"done")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_ends_only_what_needs_its_output() -> None:
    reason = os.strerror(errno.ENOSPC).encode()
    with open("/dev/full", "wb") as full:
        assert with_nobody_reading("needed", full.fileno()) == (
            1,
            b"Error: standard output can't be used: " + reason + b". Fix that, and start the "
            b"same command again.\n",
            b"",
        )
        code, errors, done = with_nobody_reading("optional", full.fileno())
    assert (code, done) == (1, b"done")
    assert errors.startswith(b"Standard output can't be written (" + reason)


MUCH = """
import sys
from jaxmusic.cli import run_script
sys.exit(run_script(lambda: print("x" * 10**6)))
"""


def test_a_pipe_that_does_not_block_loses_nothing() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)  # as some terminals and build servers leave it
    read: list[bytes] = []

    def reader() -> None:
        with os.fdopen(ours, "rb") as file:
            read.append(file.read())

    thread = threading.Thread(target=reader)
    process = subprocess.Popen([sys.executable, "-c", MUCH], stdout=theirs)
    os.close(theirs)
    thread.start()
    assert process.wait(60) == 0
    thread.join()
    assert read == [b"x" * 10**6 + b"\n"]
