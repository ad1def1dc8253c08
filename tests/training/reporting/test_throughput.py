"""The throughput meter."""

import pytest
from helpers.clock import Clock

from jaxmusic.training.reporting.throughput import ThroughputMeter


def test_the_meter_counts_training_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, meter = Clock(monkeypatch), ThroughputMeter()
    meter.count(128)  # the first step compiles: it only starts the clock
    assert meter.windows_per_second is None
    for _ in range(5):
        clock.now += 0.5
        meter.count(128)
    assert meter.windows_per_second == pytest.approx(256)
    meter.pause()
    clock.now += 1000  # a long evaluation
    meter.count(128)
    assert meter.windows_per_second == pytest.approx(256)


def test_the_meter_forgets_old_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, meter = Clock(monkeypatch), ThroughputMeter()
    meter.count(10)
    for seconds, steps in ((1.0, 300), (0.1, 6000)):
        for _ in range(steps):
            clock.now += seconds
            meter.count(10)
    assert meter.windows_per_second == pytest.approx(100, rel=0.01)
