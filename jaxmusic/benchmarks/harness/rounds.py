"""Runs contestants in turn, A B A B, so that what disturbs one disturbs all."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxmusic.benchmarks.harness.process import BaselineError, MeasuredProcess
from jaxmusic.benchmarks.results.measurement import Measurement, Report

Log = Callable[[str], None]  # prints a line of progress


@dataclass
class Contestant:
    """A program that is ready, and its measurement."""

    process: MeasuredProcess
    measurement: Measurement
    multiple: int = 1  # the units of a round are a multiple of this
    unit_seconds: float = 0.0  # estimate from warming up
    units: int = 1  # per round

    def warm_up(self) -> None:
        """Compile, and estimate how long a unit takes."""
        first = self.process.call("run", steps=self.multiple).seconds
        again = self.process.call("run", steps=self.multiple).seconds
        self.measurement.extras["compile_seconds"] = max(0.0, first - again)
        self.unit_seconds = again / self.multiple
        self.measurement.extras |= self.process.call("report").result

    def fill(self, round_seconds: float, least: int) -> None:
        """Choose the units of a round, so that it takes this time or longer."""
        wanted = max(least, math.ceil(round_seconds / self.unit_seconds))
        self.units = math.ceil(wanted / self.multiple) * self.multiple

    def run_round(self) -> None:
        """Run a round; add its sample."""
        answer = self.process.call("run", steps=self.units)
        self.measurement.samples.append(answer.seconds / self.units)
        self.measurement.extras["host_peak_bytes"] = answer.host_peak_bytes
        self.measurement.extras |= self.process.call("report").result


def run_rounds(
    contestants: Sequence[Contestant], rounds: int, report: Report, log: Log
) -> list[Contestant]:
    """Run all rounds; return the contestants that did not fail. A failure ends a contestant."""
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
