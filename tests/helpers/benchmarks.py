"""Tiny benchmarks: their flags, and reports as they would leave them."""

from jaxmusic.benchmarks.flags import TrainFlags
from jaxmusic.benchmarks.results.machine import describe_machine
from jaxmusic.benchmarks.results.measurement import Measurement, Report

TINY = TrainFlags(
    hidden_size=(8,), batch_size=(4,), window=5, vocabulary_size=11, rounds=2,
    layers=2, round_seconds=1e-3, product_size=16,
)  # fmt: skip


def measurement(name: str, *samples: float, group: str = "g") -> Measurement:
    return Measurement(group, name, "step", {"windows": 4.0}, list(samples))


def report(*measurements: Measurement) -> Report:
    return Report("train", {}, describe_machine(), list(measurements), complete=True)


def log(line: str) -> None:
    pass
