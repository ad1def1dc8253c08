"""Reports of a training: step and epoch metrics, on file and on the console."""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

import jax
import numpy as np

from jaxmusic.config import Config
from jaxmusic.console import Console, format_duration
from jaxmusic.errors import UserError
from jaxmusic.training.reporting.metrics_file import MetricsFile
from jaxmusic.training.reporting.throughput import ThroughputMeter

LINES_NAMED = 10  # of damaged ones


class LossError(UserError):
    """The loss is NaN or infinite."""


class Reporter:
    """Logs step and epoch metrics, steps one dispatch late: the devices never wait for a line."""

    def __init__(
        self,
        path: Path | None,
        console: Console,
        config: Config,
        from_step: int,
        last_step: int | None,
        *,
        steps_per_epoch: int,
        epoch_pending: bool = False,
        describe_step: Callable[[int], str] = lambda step: "",
    ) -> None:
        """Open metrics.jsonl; without a path no file is written.

        `last_step` is None as long as it isn't known. `epoch_pending` is as in MetricsFile.
        `describe_step` says which windows a step trained on.
        """
        self.console = console
        self.last_step = last_step
        self.steps_per_epoch = steps_per_epoch
        self.max_bad_steps = config.run.skip_bad_steps
        self.batch_size = config.train.batch_size
        self.log_steps = config.run.log_steps
        self.meter = ThroughputMeter()
        self._describe_step = describe_step
        self._file = MetricsFile(path, from_step=from_step, epoch_pending=epoch_pending)
        if lines := self._file.damaged:
            few = ", ".join(map(str, lines[:LINES_NAMED])) + (", ..." * (len(lines) > LINES_NAMED))
            rows = "1 damaged row was" if len(lines) == 1 else f"{len(lines):,} damaged rows were"
            console.log(f"metrics.jsonl: {rows} dropped (line{'s'[: len(lines) - 1]} {few})")
        self.bad_steps = self._file.bad_steps  # of the whole run; known in process 0 only
        self._dispatches: deque[tuple[int, int, jax.Array]] = deque()  # not logged yet
        self._compiled = False  # the first dispatch waits for that, and isn't counted

    @contextlib.contextmanager
    def timing_data(self) -> Iterator[None]:
        """Time the loading of data, which counts as waiting while the devices are idle."""
        if self._compiled and not self._dispatches:
            self.meter.resume()
        idle_before = self._idle()
        began = time.monotonic()
        yield
        if idle_before or self._idle():  # in the second case for less than all of that time
            self.meter.add_wait(time.monotonic() - began)

    def add_steps(self, step: int, count: int, losses: jax.Array) -> None:
        """Take the `losses` (capacity,) of `count` dispatched steps, of which `step` is the last.

        Waits for the dispatch before and logs it. Raises LossError when a loss of that one is NaN
        or infinite, and `--skip-bad-steps` allows no more of them.
        """
        self._dispatches.append((step, count, losses))
        if len(self._dispatches) > 1:
            self._log_dispatch()

    def drain(self) -> None:
        """Wait for all steps, log them, and stop the clock until the next ones."""
        while self._dispatches:
            self._log_dispatch()
        self.meter.pause()

    def sync(self) -> None:
        """Flush metrics.jsonl to the disk, before a checkpoint of its steps. Raises WriteError."""
        self._file.sync()

    def log_epoch(self, step: int, loss: float, held_out: Mapping[str, float]) -> None:
        """Log the epoch that ended with `step`.

        Args:
            loss: mean over the epoch's windows; NaN when all its steps were skipped.
            held_out: metrics of the held-out songs, by name.
        """
        epoch = -(-step // self.steps_per_epoch)  # the last one may be incomplete
        self._file.write({"step": step, "epoch": epoch, "epoch_loss": loss, **held_out})
        words = "no loss, as all its steps were skipped" if math.isnan(loss) else f"loss {loss:.4f}"
        for name, value in held_out.items():
            words += f", {name.removesuffix('_loss').replace('_', ' ')} {value:.4f}"
        self.console.log(f"epoch {epoch}: {words}")

    def log_end(self, steps: int, skipped: int) -> None:
        """Log how many of a finished run's steps were skipped. Raises LossError when all were."""
        if skipped >= steps:
            raise LossError(
                f"All {steps:,} steps were skipped, as their loss or gradient is not finite: the "
                "run has learned nothing. Start another one with a smaller --learning-rate."
            )
        if skipped:
            self.console.log(f"{skipped:,} of {steps:,} steps were skipped.")

    def _idle(self) -> bool:
        if not self._dispatches:
            return True
        ready: bool = self._dispatches[-1][2].is_ready()  # type: ignore[attr-defined]
        return ready

    def _log_dispatch(self) -> None:
        last, count, device_losses = self._dispatches.popleft()
        losses = np.asarray(device_losses)[:count]
        self._compiled = True
        self.meter.count(count * self.batch_size)
        speed = self.meter.windows_per_second
        for step, loss in enumerate(losses.tolist(), last - count + 1):
            epoch = (step - 1) // self.steps_per_epoch + 1
            if not math.isfinite(loss):
                self._log_bad_step(step, epoch)
            elif step % self.log_steps == 0:
                row = {"step": step, "epoch": epoch, "loss": loss, "windows_per_second": speed}
                self._file.write(row | {"data_wait": self.meter.data_wait})
        text = f"epoch {epoch}, loss {loss:.4f}"
        if speed is not None:
            text += f", {speed:,.0f} windows/s"
            if self.last_step is not None:
                left = (self.last_step - last) * self.batch_size / speed
                text += f", {format_duration(left)} left"
        self.console.progress(last, self.last_step, text)

    def _log_bad_step(self, step: int, epoch: int) -> None:
        bad = f"The loss or its gradient is not finite in epoch {epoch}, step {step:,}"
        bad += self._describe_step(step)
        if self.bad_steps >= self.max_bad_steps:  # more than allowed now, in a resumed run
            raise LossError(
                f"{bad}. The checkpoints before it are kept; start another run with a smaller "
                "--learning-rate, or go on over such steps with --skip-bad-steps "
                f"{max(10, 2 * self.bad_steps)}."
            )
        self.bad_steps += 1
        self._file.write({"step": step, "epoch": epoch, "skipped": True})
        self.console.log(f"{bad}: skipped ({self.bad_steps} of {self.max_bad_steps}).")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        # A process that ends while JAX computes may crash.
        jax.block_until_ready([losses for _, _, losses in self._dispatches])
