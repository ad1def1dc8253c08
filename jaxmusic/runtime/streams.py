"""A program's standard streams: always open, printable, and safe against readers that are gone.

No file name, and no content of a file, can send control sequences to a terminal.
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


class OutputClosed(Exception):  # noqa: N818 (not an error: `| head` has seen enough)
    """The reader of the output is gone, and the output is the program's only result."""


def open_missing_streams() -> None:
    """Open empty streams in place of closed ones (`>&-`).

    Otherwise the first file that the program opens gets the descriptor of a stream, and what
    libraries print is written into that file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
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
    """A text stream that escapes unprintable characters.

    `print`, tracebacks and libraries all write to it, so nothing bypasses it. What must be one line
    (a sentence with names in it) goes through `printable` too, which escapes line feeds.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text, with unprintable characters but line feeds escaped."""
        self.stream.write(printable_lines(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """False: libraries would write control sequences, such as colours, to a terminal."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def terminal() -> TextIO:
    """Standard output with control sequences, for callers that move the cursor."""
    return _Output.terminal or sys.stdout


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    stream = terminal()
    return stream is not None and stream.isatty()


def flush_streams() -> None:
    """Flush standard output and standard error."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Make all output printable, and ignore failures to write standard error.

    Where standard output can't be written, and isn't optional, `print` raises OutputClosed if its
    reader is gone, and OSError otherwise.
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
    """Wrap a stream so that it escapes unprintable characters."""
    return cast("TextIO", PrintableStream(stream))


@contextlib.contextmanager
def optional_output() -> Iterator[None]:
    """Let the program go on when standard output can't be written: its results are files.

    Standard error says so once.
    """
    _Output.optional += 1
    try:
        yield
        sys.stdout.flush()
    finally:
        _Output.optional -= 1


class _Output(io.FileIO):
    """Standard output or standard error, as a file without a buffer."""

    optional = 0  # number of `optional_output` contexts entered
    terminal: TextIO | None = None  # standard output in `guarded_streams`, with control sequences

    def __init__(self, descriptor: int, *, is_error: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._is_error = is_error
        self._failed = False

    def write(self, data: Any) -> int:
        """Write bytes, or drop them if that fails."""
        try:
            while (
                written := super().write(data)
            ) is None:  # non-blocking, by another process that shares it
                select.select([], [self], [])
            return written
        except OSError as error:
            first, self._failed = not self._failed, True
            if first and not self._is_error:
                self._report(error)
            return len(data)

    def _report(self, error: OSError) -> None:
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
    if type(raw) is not io.FileIO:  # Windows's console, or a test's stream
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
