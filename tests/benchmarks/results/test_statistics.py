"""Ratios, rates and their noise."""

from helpers.benchmarks import measurement, report

from jaxmusic.benchmarks.results.statistics import pair_ratios, slower_than, summarise
from jaxmusic.benchmarks.results.table import ratio_lines


def test_ratios_are_of_pairs() -> None:
    assert pair_ratios([1.0, 2.0, 4.0], [2.0, 2.0]) == [2.0, 1.0]
    lines = ratio_lines([measurement("a", 1, 2, 4), measurement("b", 2, 2, 2)])
    assert lines == ["a is 1.00 times as fast as b (0.50 to 2.00 in 3 pairs)"]
    summary = summarise([3.0, 1.0, 2.0])
    assert (summary.median, summary.low, summary.high, summary.noise) == (2.0, 1.0, 3.0, 1.0)


def test_a_rate_counts_the_work_of_each() -> None:
    ours, theirs = measurement("a", 1.0), measurement("b", 1.0)
    theirs.work = {"windows": 1.0}
    assert "4.00 times as fast" in ratio_lines([ours, theirs])[0]


def test_slower_than_a_baseline_means_by_more_than_the_noise() -> None:
    then = report(measurement("steady", 1, 1), measurement("noisy", 1, 1), measurement("gone", 1))
    now = report(
        measurement("steady", 1.2, 1.2, 1.3),  # 1.2 times, noise 8 %
        measurement("noisy", 1.0, 1.2, 1.4),  # 1.2 times, noise 33 %
        measurement("new", 9.0),
    )
    lines, compared = slower_than(then, now)
    assert compared == 2
    assert lines == [
        "steady (g) takes 1.20 times as long as in the baseline; this run's noise is 8%."
    ]
    assert slower_than(now, now) == ([], 3)
