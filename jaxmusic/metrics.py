"""What is measured of a training: its speed, and metrics.jsonl."""

import json
import time
from pathlib import Path
from typing import Any

from jaxmusic.atomic import write_atomic


class Meter:
    """Windows a second of training time alone: pauses (compiling, saving, evaluating) don't count.

    The speed is that of the last minute or so: older steps fade out.
    """

    FADE_SECONDS = 60.0

    def __init__(self) -> None:
        self._windows = 0.0
        self._seconds = 0.0
        self._since: float | None = None

    def pause(self) -> None:
        """What follows until the next `count` is no training."""
        self._since = None

    def count(self, windows: int) -> None:
        """A step of so many windows has ended; after a pause, it only starts the clock."""
        now = time.monotonic()
        if self._since is not None:
            seconds = now - self._since
            fade = max(0.0, 1 - seconds / self.FADE_SECONDS)
            self._windows = self._windows * fade + windows
            self._seconds = self._seconds * fade + seconds
        self._since = now

    @property
    def windows_per_second(self) -> float | None:
        """None until two steps have ended."""
        return self._windows / self._seconds if self._seconds > 0 else None


class MetricsFile:
    """metrics.jsonl: rows of JSON, each with the step after which it was measured.

    A run that goes on from a checkpoint first drops the rows after it, which will come again.
    """

    def __init__(self, path: Path, *, from_step: int) -> None:
        rows: list[bytes] = []
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    if json.loads(line)["step"] <= from_step and line.endswith(b"\n"):
                        rows.append(line)
                except (ValueError, KeyError, TypeError):
                    continue  # a row that was cut off when the run was killed
        write_atomic(path, b"".join(rows))
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        """Append a row, which is on its way to the disk when this returns."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
