"""What a person sees: on a terminal no name of a file does anything, and the bar still moves."""

import io
import os
import select
import subprocess
import sys

import pytest

from jaxmusic.console import format_duration
from jaxmusic.runtime.streams import PrintableStream

HOSTILE = "a\x1b[31m\x1b]0;title\x07\x9b2J\rb\nError: no\u202ec\udcff"
TOLD = r"a\x1b[31m\x1b]0;title\x07\x9b2J\rb\nError: no\u202ec\udcff"

PRINTS = """
import os, sys, warnings
from jaxmusic.console import Console
from jaxmusic.errors import UserError
from jaxmusic.cli import run_script

def main():
    name = sys.argv[1]
    print("print", name)
    print("error", name, file=sys.stderr)
    with Console() as console:
        console.progress(1, 2, "bar " + name)
        console.log("say " + name)
        print("under the bar", name)
        warnings.warn("warning " + name)
    warnings.warn("second warning " + name)
    with Console() as console:
        console.progress(2, 2, "bar " + name)
    raise UserError("sentence " + name)

sys.exit(run_script(main))
"""


def on_a_terminal(*command: str) -> tuple[int, str]:
    """How a program ends whose standard streams are a terminal, and what that is sent."""
    import pty  # noqa: PLC0415 (Unix only)

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    sent = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            sent += os.read(ours, 1 << 16)
        except OSError:  # its end, on Linux
            break
    os.close(ours)
    return process.wait(60), sent.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are Unix's")
def test_nothing_hostile_reaches_a_terminal() -> None:
    code, sent = on_a_terminal(sys.executable, "-c", PRINTS, HOSTILE)
    assert code == 1
    lines = sent.replace("\r\n", "\n").split("\n")
    for sequence in ("\x1b[31m", "\x1b]", "\x07", "\x9b", "\u202e", "\rb"):
        assert sequence not in sent
    one_line = [f"say {TOLD}", f"Error: sentence {TOLD}"]
    first = TOLD.partition(r"\n")[0]  # `print` itself writes a line feed as one
    for line in (*one_line, f"print {first}", f"error {first}", f"under the bar {first}"):
        assert any(line in each for each in lines), line
    assert f"warning {first}" in sent and f"second warning {first}" in sent
    assert "\x1b[?25l" in sent and "\x1b[?25h" in sent  # the bar's own: the cursor goes and comes
    assert "bar a" in sent and "━" in sent


def test_a_printable_stream_is_a_stream() -> None:
    inner = io.StringIO()
    stream = PrintableStream(inner)
    assert stream.write("ä\x1b\n\tb") == 5
    stream.writelines(["c\n", "d\x07"])
    print("e", file=stream)
    assert inner.getvalue() == "ä\\x1b\n\\tb" "c\n" r"d\x07" "e\n"
    assert not stream.isatty() and stream.writable()


def test_durations_read_as_people_say_them() -> None:
    said = [format_duration(seconds) for seconds in (0.2, 45, 59.6, 725, 11_220)]
    assert said == ["0s", "45s", "1m 00s", "12m 05s", "3h 07m"]
