"""What is measured of a training: its speed, and metrics.jsonl."""

import json
import math
import time
from collections import deque
from pathlib import Path
from typing import Any, Self

import jax

from jaxmusic.atomic import write_atomic
from jaxmusic.console import Console, duration
from jaxmusic.errors import UserError


class LossError(UserError):
    """The loss is no longer a number."""


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


class Reporter:
    """Tells of a training: each step once it has ended, each epoch, on file and on the console.

    Steps are told one behind the one that computes: the device never waits for a line.
    """

    def __init__(
        self,
        path: Path,
        console: Console,
        *,
        from_step: int,
        last_step: int,
        steps_per_epoch: int,
        batch_size: int,
        log_steps: int,
    ) -> None:
        self.console = console
        self.last_step = last_step
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.log_steps = log_steps
        self.meter = Meter()
        self._file = MetricsFile(path, from_step=from_step)
        self._under_way: deque[tuple[int, jax.Array]] = deque()

    def step(self, step: int, loss: jax.Array) -> None:
        """A step was dispatched: wait for the one before it, and tell of that.

        Raises LossError when that one's loss is NaN or infinite.
        """
        self._under_way.append((step, loss))
        if len(self._under_way) > 1:
            self._tell()

    def drain(self) -> None:
        """Wait for all steps, tell of them, and don't count the time until the next."""
        while self._under_way:
            self._tell()
        self.meter.pause()

    def epoch(self, step: int, loss: float, held_out_loss: float | None) -> None:
        """An epoch ended with this step."""
        epoch = step // self.steps_per_epoch
        row = {"step": step, "epoch": epoch, "epoch_loss": loss}
        line = f"epoch {epoch}: loss {loss:.4f}"
        if held_out_loss is not None:
            row["held_out_loss"] = held_out_loss
            line += f", held out {held_out_loss:.4f}"
        self._file.write(row)
        self.console.say(line)

    def _tell(self) -> None:
        step, device_loss = self._under_way.popleft()
        epoch = (step - 1) // self.steps_per_epoch + 1
        loss = float(device_loss)
        if not math.isfinite(loss):
            raise LossError(
                f"The loss is {loss} in epoch {epoch}, step {step:,}. The checkpoints before it "
                "are kept; start another run with a smaller --learning-rate."
            )
        self.meter.count(self.batch_size)
        speed = self.meter.windows_per_second
        if step % self.log_steps == 0:
            self._file.write(
                {"step": step, "epoch": epoch, "loss": loss, "windows_per_second": speed}
            )
        text = f"epoch {epoch}, loss {loss:.4f}"
        if speed is not None:
            left = (self.last_step - step) * self.batch_size / speed
            text += f", {speed:,.0f} windows/s, {duration(left)} left"
        self.console.show(step, self.last_step, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
