"""The benchmark: its arithmetic, what it refuses and what it leaves. No test looks at a clock."""

import dataclasses
import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.midi_files import write_song
from helpers.paths import ROOT

from jaxmusic.benchmarks import generating, preparing, reading, training
from jaxmusic.benchmarks.flags import (
    DataFlags,
    GenerateFlags,
    OutputFlags,
    PrepareFlags,
    TrainFlags,
)  # fmt: skip
from jaxmusic.benchmarks.harness.process import BaselineError, MeasuredProcess, Program
from jaxmusic.benchmarks.harness.weights import load_weights, save_weights
from jaxmusic.benchmarks.results.machine import datasheet_peak, describe_machine
from jaxmusic.benchmarks.results.measurement import (
    Measurement,
    Report,
    ReportError,
    load_report,
    save_report,
)
from jaxmusic.benchmarks.results.statistics import pair_ratios, slower_than, summarise
from jaxmusic.benchmarks.results.table import ratio_lines, report_lines
from jaxmusic.benchmarks.session import RefusedError, run_session
from jaxmusic.benchmarks.training import WrongLossError, check_losses
from jaxmusic.benchmarks.workload import Workload, forward_flop, training_flop
from jaxmusic.config import PRESETS, ConfigError
from jaxmusic.training.state import new_model

TINY = TrainFlags(
    hidden_size=(8,), batch_size=(4,), window=5, vocabulary_size=11, rounds=2,
    layers=2, round_seconds=1e-3, product_size=16,
)  # fmt: skip


def workload(preset: str = "classic", **sizes: Any) -> Workload:
    config = PRESETS[preset]
    model = dataclasses.replace(config.model, **sizes)
    return Workload(model, config.train, window=config.data.window)


def measurement(name: str, *samples: float, group: str = "g") -> Measurement:
    return Measurement(group, name, "step", {"windows": 4.0}, list(samples))


def report(*measurements: Measurement) -> Report:
    return Report("train", {}, describe_machine(), list(measurements), complete=True)


def log(line: str) -> None:
    pass


# Arithmetic.


def test_a_classic_window_costs_the_computed_flops() -> None:
    a_layer = 2 * (512 + 512) * 2048
    first = 2 * (1 + 512) * 2048
    head = 2 * 512 * 256 + 2 * 256 * 359
    assert forward_flop(workload()) == 100 * (first + 2 * a_layer) + head
    assert training_flop(workload()) / 1e9 == pytest.approx(3.148, abs=5e-4)


@pytest.mark.parametrize("preset", ["classic", "quick"])
def test_xla_counts_the_same_products(preset: str) -> None:
    # One step of time: XLA counts the body of a loop once, however often it runs.
    one = dataclasses.replace(workload(preset, hidden_size=128, dense_size=64), window=1)
    structure, state = nnx.split(new_model(one.config, one.vocabulary_size))
    ids = jnp.zeros((8, 1), jnp.int32)
    compiled = jax.jit(lambda state: nnx.merge(structure, state)(ids)).lower(state).compile()
    analysis: Any = compiled.cost_analysis()
    counted = analysis["flops"]
    assert counted == pytest.approx(8 * forward_flop(one), rel=0.05)


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


@pytest.mark.raises_at("jaxmusic/benchmarks/training.py:check_losses")
def test_losses_must_be_equal() -> None:
    check_losses("x", [5.0, 4.0], [5.0004, 4.03], "f32")
    check_losses("x", [5.0], [5.09, 4.0], "bf16")
    for losses in ([5.1, 4.0], [5.0, 4.1], [float("nan")]):
        with pytest.raises(WrongLossError, match="refused"):
            check_losses("x", losses, [5.0, 4.0], "f32")


def test_datasheets_are_asked_by_device_and_precision() -> None:
    assert datasheet_peak("TPU v5 lite", "bf16") == 197e12
    assert datasheet_peak("TPU v5 lite", "f32") is None
    assert datasheet_peak("cpu", "bf16") is None


# Files.


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    weights = {"lstm": {0: {"bias": np.arange(3.0)}}, "dense": {"kernel": np.eye(2)}}
    save_weights(weights, tmp_path / "w.npz")
    back = load_weights(tmp_path / "w.npz")
    jax.tree.map(np.testing.assert_array_equal, back, weights)


def test_a_report_comes_back_from_its_json(tmp_path: Path) -> None:
    ours = report(measurement("a", 1, 2))
    save_report(ours, tmp_path / "r.json")
    assert load_report(tmp_path / "r.json") == ours
    for text in ("", "{}", '{"format": 9}', '{"format": 1, "measurements": [{}]}', "[1]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ReportError, match="bad.json"):
            load_report(tmp_path / "bad.json")


def test_a_workload_comes_back_from_json() -> None:
    ours = workload("quick", hidden_size=7)
    assert Workload.from_json(json.loads(json.dumps(ours.to_json()))) == ours


# Peers.

WRONG = """
class Peer:
    def check_losses(self):
        return [1.0]
def build(arguments):
    print("noise on standard output")
    return Peer()
"""
DYING = """
import os, sys
def build(arguments):
    print("no more", file=sys.stderr)
    os._exit(3)
"""


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
    said = capsys.readouterr().out
    assert "Left out: missing: not-a-package is not installed" in said
    assert "Left out: dying: its process ended. no more" in said
    assert "Refused: wrong: " in said
    assert "times as fast as flax" in said
    assert "MFU" in said


def test_the_bench_extras_peers_compute_our_loss() -> None:
    wanted = {"keras-tensorflow": "tensorflow", "torch": "torch"}
    names = [name for name, package in wanted.items() if find_spec(package) is not None]
    if not names:
        pytest.skip("neither tensorflow nor torch is installed")
    found = report()
    flags = dataclasses.replace(TINY, against=",".join(names), rounds=1)
    training.run_training(flags, found, log)
    assert found.refused == []
    assert [each.name for each in found.measurements] == ["jaxmusic", *names], found.left_out


def test_a_baseline_that_fails_is_reported_with_the_reason() -> None:
    with pytest.raises(BaselineError, match="x: ModuleNotFoundError: .*nowhere"):
        MeasuredProcess("x", Program("nowhere"), {})


# Sessions.


def test_ctrl_c_leaves_what_was_measured(tmp_path: Path) -> None:
    json_file = tmp_path / "r.json"
    process = subprocess.Popen(
        [
            sys.executable, ROOT / "scripts" / "benchmark.py", "train", "--hidden-size", "8",
            "--layers", "1", "--batch-size", "4", "--window", "5", "--rounds", "100000",
            "--round-seconds", "0.001", "--product-size", "16", "--json", json_file,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None and process.stdout is not None
    for line in process.stderr:
        if "round 3 " in line:
            break
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Not complete" in said
    assert "windows/s" in said
    found = load_report(json_file)
    assert not found.complete
    assert len(found.measurements[0].samples) >= 3


def test_a_baseline_is_compared_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(flags: TrainFlags, found: Report, log: object) -> None:
        found.measurements.append(measurement("a", 2.0, 2.0))

    save_report(report(measurement("a", 1.0, 1.0)), tmp_path / "then.json")
    output = OutputFlags(baseline=str(tmp_path / "then.json"))
    run_session("train", measure, TINY, output)
    assert "a (g) takes 2.00 times as long" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="is a benchmark of train"):
        run_session("data", measure, TINY, output)


def test_the_chart_shows_who_was_measured(tmp_path: Path) -> None:
    if find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    from jaxmusic.benchmarks.results.chart import draw_chart  # noqa: PLC0415

    draw_chart(report(measurement("alpha", 1, 2), measurement("beta", 2)), tmp_path / "c.svg")
    assert (tmp_path / "c.svg").stat().st_size > 1000


def test_data_is_measured(tmp_path: Path) -> None:
    for number in range(3):
        write_song(tmp_path / f"{number}.mid", 30, seed=number)
    found = report()
    flags = DataFlags(str(tmp_path), rounds=1, round_seconds=1e-3, workers=2, music21=None)
    reading.run_data(flags, found, log)
    names = [each.name for each in found.measurements]
    assert names[:3] == ["jaxmusic, 1 process", "jaxmusic, 2 processes", "mido"]
    assert {"jaxmusic", "notebook loops"} < set(names)
    assert found.measurements[0].work["files"] == 3
    said = "\n".join(report_lines(found))
    assert "files/s" in said
    assert found.refused == []


def test_preparing_is_measured(tmp_path: Path) -> None:
    for number in range(3):
        write_song(tmp_path / "songs" / f"{number}.mid", 40, seed=number)
    sets = tmp_path / "sets"
    flags = PrepareFlags(
        files=(20,), midi_dir=str(tmp_path / "songs"), sets=str(sets), workers=2, rounds=1
    )
    for _ in range(2):  # the set is made once
        found = report()
        preparing.run_preparing(flags, found, log)
        assert len(list(sets.rglob("*.mid"))) == 20  # those that were more are gone again
    assert [each.name for each in found.measurements] == [
        "2 processes", "1 process", "2 apart, by 2", "again, nothing new", "10 files more",
        "the rest, killed half way",
    ]  # fmt: skip
    assert {each.work["files"] for each in found.measurements} == {20}
    if sys.platform == "linux":
        peaks = {each.name: each.extras.get("all_peak_bytes", 0) for each in found.measurements}
        assert peaks.pop("2 apart, by 2") == 0  # not looked at
        assert all(peak > 10**7 for peak in peaks.values())
    assert "all processes MiB" in "\n".join(report_lines(found))


def test_generating_is_measured() -> None:
    flags = GenerateFlags(
        against="keras-jax", pieces=(2,), length=3, hidden_size=8, window=5, vocabulary_size=11,
        rounds=1, round_seconds=1e-3,
    )  # fmt: skip
    found = report()
    generating.run_generating(flags, found, log)
    assert found.refused == []
    assert [each.name for each in found.measurements] == ["jaxmusic", "keras-jax"]
    assert [each.work["tokens"] for each in found.measurements] == [2, 2]


def test_a_mistakes_code_is_the_processes() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "benchmark.py", "train", "--rounds", "0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 2, ran.stderr
    assert "--rounds is 0, but must be 1 or more" in ran.stderr
    assert "Traceback" not in ran.stderr
