"""`benchmark.py generate`."""

from helpers.benchmarks import log, report

from jaxmusic.benchmarks import generating
from jaxmusic.benchmarks.flags import GenerateFlags


def test_generating_is_measured() -> None:
    flags = GenerateFlags(
        against="keras-jax", pieces=(2,), length=3, hidden_size=8, window=5, vocabulary_size=11,
        rounds=1, round_seconds=1e-3,
    )  # fmt: skip
    found = report()
    generating.run_generating(flags, found, log)
    assert found.refused == []
    assert [each.name for each in found.measurements] == [
        "jaxmusic", "jaxmusic, whole windows", "keras-jax",
    ]  # fmt: skip
    assert [each.work["tokens"] for each in found.measurements] == [2, 2, 2]
