"""`benchmark.py train`: equal losses, wrong and missing baselines."""

import dataclasses
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers.benchmarks import TINY, log, report

from jaxmusic.benchmarks import training
from jaxmusic.benchmarks.flags import OutputFlags
from jaxmusic.benchmarks.harness.process import Program
from jaxmusic.benchmarks.results.measurement import load_report
from jaxmusic.benchmarks.session import RefusedError, run_session
from jaxmusic.benchmarks.training import WrongLossError, check_losses

WRONG = """
class Baseline:
    def check_losses(self):
        return [1.0]
def build(arguments):
    print("noise on standard output")
    return Baseline()
"""


DYING = """
import os, sys
def build(arguments):
    print("no more", file=sys.stderr)
    os._exit(3)
"""


@pytest.mark.raises_at("jaxmusic/benchmarks/training.py:check_losses")
def test_losses_must_be_equal() -> None:
    check_losses("x", [5.0, 4.0], [5.0004, 4.03], "f32")
    check_losses("x", [5.0], [5.09, 4.0], "bf16")
    for losses in ([5.1, 4.0], [5.0, 4.1], [float("nan")]):
        with pytest.raises(WrongLossError, match="refused"):
            check_losses("x", losses, [5.0, 4.0], "f32")


@pytest.mark.raises_at("jaxmusic/benchmarks/harness/process.py:_ask")
@pytest.mark.raises_at("jaxmusic/benchmarks/session.py:run_session", "refused")
def test_wrong_and_missing_baselines_are_reported_and_the_others_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "dying.py").write_text(DYING)
    path = {"PYTHONPATH": str(tmp_path)}
    monkeypatch.setitem(training.PROGRAMS, "wrong", Program("wrong", (), path))
    monkeypatch.setitem(training.PROGRAMS, "dying", Program("dying", (), path))
    monkeypatch.setitem(training.PROGRAMS, "missing", Program("missing", ("not-a-package",)))
    flags = dataclasses.replace(
        TINY, against="missing,wrong,dying,flax,keras-jax", steps_per_dispatch=(2,)
    )
    json_file = tmp_path / "r.json"
    with pytest.raises(RefusedError, match="wrong: its loss at the same weights is 1.0"):
        run_session("train", training.run_training, flags, OutputFlags(json=str(json_file)))
    found = load_report(json_file)
    assert [(each.name, len(each.samples)) for each in found.measurements] == [
        ("jaxmusic", 2), ("flax", 2), ("keras-jax", 2)
    ]  # fmt: skip
    ours, *theirs = found.measurements
    for each in theirs:
        np.testing.assert_allclose(
            each.extras["check_losses"], ours.extras["check_losses"], rtol=1e-3
        )
    assert 0 <= ours.extras["data_wait_share"] <= 1
    assert ours.extras["compile_seconds"] > 0
    assert ours.extras["host_peak_bytes"] > 2**20
    assert found.complete
    printed = capsys.readouterr().out
    assert "Left out: missing: not-a-package is not installed" in printed
    assert "Left out: dying: its process ended. no more" in printed
    assert "Refused: wrong: " in printed
    assert "times as fast as flax" in printed
    assert "MFU" in printed


def test_the_bench_extra_baselines_compute_our_loss() -> None:
    wanted = {"keras-tensorflow": "tensorflow", "torch": "torch"}
    names = [name for name, package in wanted.items() if find_spec(package) is not None]
    if not names:
        pytest.skip("neither tensorflow nor torch is installed")
    found = report()
    flags = dataclasses.replace(TINY, against=",".join(names), rounds=1)
    training.run_training(flags, found, log)
    assert found.refused == []
    assert [each.name for each in found.measurements] == ["jaxmusic", *names], found.left_out
