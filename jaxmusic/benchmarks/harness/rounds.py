"""Contestants in turn, A B A B: as many rounds of each, so that what disturbs one disturbs all."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxmusic.benchmarks.harness.process import BaselineError, MeasuredProcess
from jaxmusic.benchmarks.results.measurement import Measurement, Report

Log = Callable[[str], None]  # a line for the person who waits


@dataclass
class Contestant:
    """A peer that is ready, and what is measured of it."""

    process: MeasuredProcess
    measurement: Measurement
    multiple: int = 1  # a round has a multiple of so many units
    unit_seconds: float = 0.0  # about, from warming up
    units: int = 1  # of a round

    def warm_up(self) -> None:
        """Let it compile what it will, and see about how long a unit takes."""
        first = self.process.call("run", steps=self.multiple).seconds
        again = self.process.call("run", steps=self.multiple).seconds
        self.measurement.extras["compile_seconds"] = max(0.0, first - again)
        self.unit_seconds = again / self.multiple
        self.measurement.extras |= self.process.call("report").result

    def fill(self, round_seconds: float, least: int) -> None:
        """Make a round long enough."""
        wanted = max(least, math.ceil(round_seconds / self.unit_seconds))
        self.units = math.ceil(wanted / self.multiple) * self.multiple

    def run_round(self) -> None:
        """One round, one sample."""
        answer = self.process.call("run", steps=self.units)
        self.measurement.samples.append(answer.seconds / self.units)
        self.measurement.extras["host_peak_bytes"] = answer.host_peak_bytes
        self.measurement.extras |= self.process.call("report").result


def run_rounds(
    contestants: Sequence[Contestant], rounds: int, report: Report, log: Log
) -> list[Contestant]:
    """All rounds. Who fails on the way is left out from there; the others are returned."""
    going = list(contestants)
    for number in range(1, rounds + 1):
        for contestant in list(going):
            try:
                contestant.run_round()
            except BaselineError as error:
                report.left_out.append(f"from round {number} on, {error}")
                going.remove(contestant)
        last = ", ".join(
            f"{c.measurement.name} {c.measurement.samples[-1] * 1000:,.1f} ms" for c in going
        )
        log(f"  round {number} of {rounds}: {last}")
    return going
