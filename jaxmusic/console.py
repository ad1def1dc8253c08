"""What a person sees while something runs: lines, and on a terminal a bar under them."""

import sys
import time
from typing import TYPE_CHECKING, Self

from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import is_terminal, printable_stream, terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_SECONDS = 10.0  # from one line of progress to the next, where there is no terminal


class Console:
    """Lines for a person, and under them, on a terminal, a bar; else a plain line now and then."""

    def __init__(self, *, silent: bool = False) -> None:
        """`silent`: say nothing at all, as the processes but the first do."""
        self._silent = silent
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._told_at = 0.0

    def log(self, line: str) -> None:
        """Print a line (above the bar); one it stays, whatever names are in it."""
        if self._silent:
            return
        if self._progress is not None:
            self._progress.console.print(printable(line), markup=False, highlight=False)
        else:
            print(printable(line), flush=True)

    def progress(self, done: int, total: int, text: str) -> None:
        """Move the bar (or print a line, not more often than every few seconds)."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, text=printable(text))
        elif time.monotonic() - self._told_at > PLAIN_SECONDS:
            self.log(f"{done:,} of {total:,}: {text}")
            self._told_at = time.monotonic()

    def __enter__(self) -> Self:
        """Start a bar of its own for what follows."""
        self._told_at = time.monotonic()
        if is_terminal() and not self._silent:
            # Here, since it takes a fifth of the time that a short command takes to start.
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
            # What is printed now goes through rich, above the bar, until the bar stops.
            sys.stdout, sys.stderr = printable_stream(sys.stdout), printable_stream(sys.stderr)
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: 45s, 12m 05s, 3h 07m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"
