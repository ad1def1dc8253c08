"""Medians, ranges and ratios of samples."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from jaxmusic.benchmarks.results.measurement import Measurement, Report


@dataclass(frozen=True)
class Summary:
    """The middle of some samples and how far they reach."""

    median: float
    low: float
    high: float

    @property
    def noise(self) -> float:
        """The whole range as a share of the median."""
        return (self.high - self.low) / self.median


def summarise(samples: Sequence[float]) -> Summary:
    """Of one sample or more."""
    return Summary(statistics.median(samples), min(samples), max(samples))


def pair_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """How many times as fast we were, round by round; a round that one of them lacks is none.

    What disturbs the machine for longer than a round disturbs both of a pair.
    """
    return [their / our for our, their in zip(ours, theirs, strict=False)]


def slower_than(baseline: Report, report: Report) -> tuple[list[str], int]:
    """What got slower than in an earlier run by more than this run's noise, a sentence each.

    Noise is the whole range of a contestant's rounds. Second: how many could be compared.
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
