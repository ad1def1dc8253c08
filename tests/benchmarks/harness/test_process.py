"""Measured processes."""

import pytest

from jaxmusic.benchmarks.harness.process import BaselineError, MeasuredProcess, Program


def test_a_baseline_that_fails_is_reported_with_the_reason() -> None:
    with pytest.raises(BaselineError, match="x: ModuleNotFoundError: .*nowhere"):
        MeasuredProcess("x", Program("nowhere"), {})
