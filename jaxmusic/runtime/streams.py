"""A program's standard streams.

They are always there, no reader that is gone costs any work, and all that is printed is printable:
a name of a file, or what a file says, can't send control sequences to a terminal.
"""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TextIO, cast

from jaxmusic.errors import reason_of
from jaxmusic.runtime.printable import printable_lines


class OutputClosed(Exception):  # noqa: N818 (no error: `| head` has seen enough)
    """Whoever read the program's output is gone, and the output is all that there is to make."""


def open_missing_streams() -> None:
    """Give a program that was started with closed streams (`>&-`) empty ones.

    Else the first file that it opens would get the number of one of them, and what libraries print
    would be written into that file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = _opened(0, "r")
    if sys.stdout is None:
        sys.stdout = _opened(1, "w")
    if sys.stderr is None:
        sys.stderr = _opened(2, "w")


def _opened(descriptor: int, mode: Literal["r", "w"]) -> TextIO:
    return open(descriptor, mode, encoding="utf-8", closefd=False)


class PrintableStream:
    """A text stream to which nothing is written but what any terminal shows as it stands.

    `print`, tracebacks and libraries all write to it, so nothing bypasses it. What must be one line
    (a sentence with names in it) goes through `printable` too, which escapes line feeds.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text, with what can't be printed, but line feeds, as Python writes it."""
        self.stream.write(printable_lines(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """No: libraries that ask would write control sequences, such as colours."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def terminal() -> TextIO:
    """Standard output for those who move the cursor: control sequences go through."""
    return _Output.terminal or sys.stdout


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    stream = terminal()
    return stream is not None and stream.isatty()


def flush_streams() -> None:
    """Write out what standard output and standard error hold."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Inside, all output is printable, and no standard error that can't be written is an error.

    Where standard output can't be written, and isn't optional, `print` raises OutputClosed, or
    OSError if that is not because its reader is gone.
    """
    before = sys.stdout, sys.stderr
    output, errors = (_guarded(stream) for stream in before)
    terminal_before, _Output.terminal = _Output.terminal, output
    sys.stdout, sys.stderr = printable_stream(output), printable_stream(errors)
    try:
        yield
    finally:
        _Output.terminal = terminal_before
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, OutputClosed):
                stream.flush()
        sys.stdout, sys.stderr = before


def printable_stream(stream: TextIO) -> TextIO:
    """A stream through which printable text alone gets."""
    return cast("TextIO", PrintableStream(stream))


@contextlib.contextmanager
def optional_output() -> Iterator[None]:
    """Inside, what the program makes is files, and its output may be lost.

    The first time that it can't be written, standard error says so; the work goes on.
    """
    _Output.optional += 1
    try:
        yield
        sys.stdout.flush()
    finally:
        _Output.optional -= 1


class _Output(io.FileIO):
    """Standard output or standard error, as a file without a buffer."""

    optional = 0  # how many `optional_output` are entered
    terminal: TextIO | None = None  # standard output inside `guarded_streams`, not made printable

    def __init__(self, descriptor: int, *, is_error: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._is_error = is_error
        self._failed = False

    def write(self, data: Any) -> int:
        """Write bytes, or drop them where that can't be done."""
        try:
            while (written := super().write(data)) is None:  # set not to block, by who shares it
                select.select([], [self], [])
            return written
        except OSError as error:
            first, self._failed = not self._failed, True
            if first and not self._is_error:
                self._lost(error)
            return len(data)

    def _lost(self, error: OSError) -> None:
        if self.optional:
            print(
                f"Standard output can't be written ({reason_of(error)}): the work goes on without.",
                file=sys.stderr,
                flush=True,
            )
        elif error.errno == errno.EPIPE:
            raise OutputClosed from error
        else:
            raise OSError(error.errno, error.strerror, "standard output") from error


def _guarded(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO:  # Windows's console, or what a test put there
        return stream
    stream.flush()
    output = _Output(stream.fileno(), is_error=stream is sys.stderr)
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
