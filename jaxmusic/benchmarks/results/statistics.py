"""Medians, ranges and ratios of samples."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from jaxmusic.benchmarks.results.measurement import Measurement, Report


@dataclass(frozen=True)
class Summary:
    """Median and range of samples."""

    median: float
    low: float
    high: float

    @property
    def noise(self) -> float:
        """Range divided by median."""
        return (self.high - self.low) / self.median


def summarise(samples: Sequence[float]) -> Summary:
    """Summarise one sample or more."""
    return Summary(statistics.median(samples), min(samples), max(samples))


def pair_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return how many times as fast we were, round by round, over the rounds that both have.

    What disturbs the machine for longer than a round disturbs both of a pair.
    """
    return [their / our for our, their in zip(ours, theirs, strict=False)]


def slower_than(baseline: Report, report: Report) -> tuple[list[str], int]:
    """Return a sentence for each contestant that got slower by more than this run's noise.

    Noise is the range of a contestant's rounds. Also returns how many were compared.
    """
    before = {measurement.key: measurement for measurement in baseline.measurements}
    lines, compared = [], 0
    for measurement in report.measurements:
        then = before.get(measurement.key)
        if then is None or not then.samples or not measurement.samples:
            continue
        compared += 1
        ratio, noise = _change(then, measurement)
        if ratio > 1 + noise:
            lines.append(
                f"{measurement.name} ({measurement.group}) takes {ratio:.2f} times as long as in "
                f"the baseline; this run's noise is {noise:.0%}."
            )
    return lines, compared


def _change(then: Measurement, now: Measurement) -> tuple[float, float]:
    summary = summarise(now.samples)
    return summary.median / summarise(then.samples).median, summary.noise
