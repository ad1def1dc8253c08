"""What is measured of a training: its speed, and metrics.jsonl."""

import contextlib
import errno
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any, Self

import jax
import msgspec
import numpy as np

from jaxmusic.config import Config
from jaxmusic.console import Console, format_duration
from jaxmusic.errors import UserError
from jaxmusic.storage.atomic import fsync, open_to_write, write_atomic, writing
from jaxmusic.storage.json_text import render_json
from jaxmusic.storage.reading import Count, parse_json, read_lines

LINES_NAMED = 10  # of those that are damaged


class LossError(UserError):
    """The loss is no longer a number."""


class MetricsError(UserError):
    """A metrics.jsonl that is none."""


class _Row(msgspec.Struct, frozen=True):
    """What a run that goes on needs of a row of metrics.jsonl."""

    step: Count
    skipped: bool = False
    epoch_loss: float | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def ends_epoch(self) -> bool:
        return self.epoch_loss is not msgspec.UNSET


def _lines(path: Path) -> list[bytes]:
    try:
        return list(read_lines(path))
    except ValueError as error:
        raise MetricsError(
            f"{path} can't be gone on with: {error}. Move it away, and start the same command "
            "again: its rows begin anew."
        ) from error


class ThroughputMeter:
    """Windows a second of training time alone: pauses (compiling, saving, evaluating) don't count.

    The speed is that of the last minute or so: older steps fade out.
    """

    FADE_SECONDS = 60.0

    def __init__(self) -> None:
        self._windows = 0.0
        self._seconds = 0.0
        self._waited = 0.0
        self._waiting = 0.0  # since the last count
        self._since: float | None = None

    def pause(self) -> None:
        """What follows until `resume` or the next `count` is no training."""
        self._since = None

    def resume(self) -> None:
        """Training goes on from now."""
        self._since = time.monotonic()

    def wait(self, seconds: float) -> None:
        """The devices had nothing to do for so long, for want of data."""
        self._waiting += seconds

    def count(self, windows: int) -> None:
        """Steps of so many windows have ended; after a pause, that only starts the clock."""
        now = time.monotonic()
        if self._since is not None:
            seconds = now - self._since
            fade = max(0.0, 1 - seconds / self.FADE_SECONDS)
            self._windows = self._windows * fade + windows
            self._seconds = self._seconds * fade + seconds
            self._waited = self._waited * fade + self._waiting
        self._waiting = 0.0
        self._since = now

    @property
    def windows_per_second(self) -> float | None:
        """None until two dispatches have ended."""
        return self._windows / self._seconds if self._seconds > 0 else None

    @property
    def data_wait(self) -> float | None:
        """Share of the time in which the devices waited for data, at most."""
        return self._waited / self._seconds if self._seconds > 0 else None


class MetricsFile:
    """metrics.jsonl: rows of JSON, each with the step after which it was measured.

    A run that goes on from a checkpoint first drops the rows after it, which will come again.
    """

    def __init__(self, path: Path | None, *, from_step: int, epoch_to_come: bool = False) -> None:
        """Without a path nothing is written.

        `epoch_to_come`: the row of the epoch that ends with `from_step` is still to be written.
        """
        rows: list[bytes] = []
        self.bad_steps = 0  # in the rows that stay
        self.damaged: list[int] = []  # lines that were no rows, and were dropped
        self._path = path
        self._file: FileIO | None = None
        if path is None:
            return
        if path.exists():
            for number, line in enumerate(_lines(path), 1):
                if not line.endswith(b"\n"):
                    continue  # cut off when the run was killed: after its last checkpoint
                try:
                    row = parse_json(line, _Row)
                except ValueError:
                    self.damaged.append(number)
                    continue
                again = epoch_to_come and row.step == from_step and row.ends_epoch
                if row.step <= from_step and not again:
                    rows.append(line)
                    self.bad_steps += row.skipped
        write_atomic(path, b"".join(rows))
        with writing(path):
            self._file = open(path, "ab", buffering=0, opener=open_to_write)  # noqa: SIM115

    def write(self, row: dict[str, Any]) -> None:
        """Append a row, which is on its way to the disk when this returns.

        Raises WriteError; then nothing of the row is there.
        """
        if self._file is None or self._path is None:
            return
        content = render_json(row).encode() + b"\n"
        with writing(self._path):
            end = self._file.seek(0, os.SEEK_END)
            try:
                while content:  # a disk that gets full may first take a part
                    content = content[self._file.write(content) :]
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(end)
                raise

    def sync(self) -> None:
        """Have the disk hold all rows: a power cut loses none of before this.

        Raises WriteError, also when the file isn't there any more.
        """
        if self._file is None or self._path is None:
            return
        with writing(self._path):
            fsync(self._file.fileno())
            if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                raise FileNotFoundError(errno.ENOENT, "it was replaced by another file")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Reporter:
    """Tells of a training: each step once it has ended, each epoch, on file and on the console.

    Dispatches are told one behind the one that computes: the devices never wait for a line.
    """

    def __init__(
        self,
        path: Path | None,
        console: Console,
        config: Config,
        from_step: int,
        last_step: int,
        *,
        steps_per_epoch: int,
        epoch_to_come: bool = False,
        place_of: Callable[[int], str] = lambda step: "",
    ) -> None:
        """Without a path no file is written; `epoch_to_come` as in MetricsFile.

        `place_of` a step is where its windows come from, for the one who looks for a fault.
        """
        self.place_of = place_of
        self.most_bad_steps = config.run.skip_bad_steps
        self.console = console
        self.last_step = last_step
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = config.train.batch_size
        self.log_steps = config.run.log_steps
        self.meter = ThroughputMeter()
        self._file = MetricsFile(path, from_step=from_step, epoch_to_come=epoch_to_come)
        if lines := self._file.damaged:
            few = ", ".join(map(str, lines[:LINES_NAMED])) + (", ..." * (len(lines) > LINES_NAMED))
            rows = "1 damaged row was" if len(lines) == 1 else f"{len(lines):,} damaged rows were"
            console.log(f"metrics.jsonl: {rows} dropped (line{'s'[: len(lines) - 1]} {few})")
        self.bad_steps = self._file.bad_steps  # of the run; told in process 0 alone
        self._under_way: deque[tuple[int, int, jax.Array]] = deque()
        self._compiled = False  # the first dispatch waits for that, and isn't counted

    @contextlib.contextmanager
    def fetching(self) -> Iterator[None]:
        """Inside, data is made ready for the devices; when they are idle then, they wait for it."""
        if self._compiled and not self._under_way:
            self.meter.resume()
        idle_before = self._idle()
        began = time.monotonic()
        yield
        if idle_before or self._idle():  # in the second case for less than all of that time
            self.meter.wait(time.monotonic() - began)

    def steps(self, step: int, count: int, losses: jax.Array) -> None:
        """`count` steps, the last one of the number `step`, were dispatched.

        Waits for the dispatch before, and tells of that. Raises LossError when a loss of that one
        is NaN or infinite, and more such steps aren't to be skipped.
        """
        self._under_way.append((step, count, losses))
        if len(self._under_way) > 1:
            self._tell()

    def drain(self) -> None:
        """Wait for all steps, tell of them, and don't count the time until the next."""
        while self._under_way:
            self._tell()
        self.meter.pause()

    def sync(self) -> None:
        """Have the disk hold all that was told: before a checkpoint of these steps.

        Raises WriteError.
        """
        self._file.sync()

    def epoch(self, step: int, loss: float, held_out_loss: float | None) -> float:
        """An epoch ended with this step; the loss that the best is chosen by.

        A `loss` of NaN: there is none, as all steps of the epoch were skipped.
        """
        epoch = step // self.steps_per_epoch
        row = {"step": step, "epoch": epoch, "epoch_loss": loss}
        words = "no loss, as all its steps were skipped" if math.isnan(loss) else f"loss {loss:.4f}"
        line = f"epoch {epoch}: {words}"
        if held_out_loss is not None:
            row["held_out_loss"] = held_out_loss
            line += f", held out {held_out_loss:.4f}"
        self._file.write(row)
        self.console.log(line)
        return loss if held_out_loss is None else held_out_loss

    def _idle(self) -> bool:
        if not self._under_way:
            return True
        ready: bool = self._under_way[-1][2].is_ready()  # type: ignore[attr-defined]
        return ready

    def _tell(self) -> None:
        last, count, device_losses = self._under_way.popleft()
        losses = np.asarray(device_losses)[:count]
        self._compiled = True
        self.meter.count(count * self.batch_size)
        speed = self.meter.windows_per_second
        for step, loss in enumerate(losses.tolist(), last - count + 1):
            epoch = (step - 1) // self.steps_per_epoch + 1
            if not math.isfinite(loss):
                self._tell_bad(step, epoch)
                continue
            if step % self.log_steps == 0:
                row = {"step": step, "epoch": epoch, "loss": loss, "windows_per_second": speed}
                self._file.write(row | {"data_wait": self.meter.data_wait})
        text = f"epoch {epoch}, loss {loss:.4f}"
        if speed is not None:
            left = (self.last_step - last) * self.batch_size / speed
            text += f", {speed:,.0f} windows/s, {format_duration(left)} left"
        self.console.progress(last, self.last_step, text)

    def _tell_bad(self, step: int, epoch: int) -> None:
        bad = f"The loss or its gradient is no number in epoch {epoch}, step {step:,}"
        place = self.place_of(step)
        if self.bad_steps >= self.most_bad_steps:  # more than allowed now, in a run that goes on
            raise LossError(
                f"{bad}{place}. The checkpoints before it are kept; start another run with a "
                "smaller --learning-rate, or go on over such steps with --skip-bad-steps "
                f"{max(10, 2 * self.bad_steps)}."
            )
        self.bad_steps += 1
        self._file.write({"step": step, "epoch": epoch, "skipped": True})
        self.console.log(f"{bad}{place}: skipped ({self.bad_steps} of {self.most_bad_steps}).")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        # A process that ends while JAX computes may crash.
        jax.block_until_ready([losses for _, _, losses in self._under_way])
