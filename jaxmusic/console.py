"""Console output: lines, and on a terminal a progress bar below them."""

import sys
import time
from typing import TYPE_CHECKING, Self

from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import is_terminal, printable_stream, terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_SECONDS = 10.0  # between lines of progress without a terminal


class Console:
    """Logs lines, and shows progress: as a bar on a terminal, else as a line now and then."""

    def __init__(self, *, silent: bool = False) -> None:
        """`silent`: print nothing, as all processes but the first do."""
        self._silent = silent
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._printed_at = 0.0

    def log(self, line: str) -> None:
        """Print a line above the bar. Line breaks in names are escaped."""
        if self._silent:
            return
        if self._progress is not None:
            self._progress.console.print(printable(line), markup=False, highlight=False)
        else:
            print(printable(line), flush=True)

    def progress(self, done: int, total: int | None, text: str) -> None:
        """Move the bar, or print a line at most every PLAIN_SECONDS. `total` may be unknown."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, text=printable(text))
        elif time.monotonic() - self._printed_at > PLAIN_SECONDS:
            self.log(f"{done:,}: {text}" if total is None else f"{done:,} of {total:,}: {text}")
            self._printed_at = time.monotonic()

    def __enter__(self) -> Self:
        """Start a new bar."""
        self._printed_at = time.monotonic()
        if is_terminal() and not self._silent:
            # Importing rich takes a fifth of the start-up time of a short command.
            from rich.console import Console as RichConsole  # noqa: PLC0415
            from rich.progress import (  # noqa: PLC0415
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            self._progress = Progress(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                console=RichConsole(file=terminal()),
            )
            self._task = self._progress.add_task("", total=None, text="")
            self._progress.start()
            # Until the bar stops, rich prints other output above it.
            sys.stdout, sys.stderr = printable_stream(sys.stdout), printable_stream(sys.stderr)
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None


def format_duration(seconds: float) -> str:
    """Seconds in words: 45s, 12m 05s, 3h 07m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"
