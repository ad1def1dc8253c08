"""The chart of a report."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.benchmarks import measurement, report


def test_the_chart_shows_who_was_measured(tmp_path: Path) -> None:
    if find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    from jaxmusic.benchmarks.results.chart import draw_chart  # noqa: PLC0415

    draw_chart(report(measurement("alpha", 1, 2), measurement("beta", 2)), tmp_path / "c.svg")
    assert (tmp_path / "c.svg").stat().st_size > 1000
