"""A benchmark as a command: interrupted, compared with an earlier one, refused."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.benchmarks import TINY, measurement, report
from helpers.paths import ROOT

from jaxmusic.benchmarks.flags import OutputFlags, TrainFlags
from jaxmusic.benchmarks.results.measurement import Report, load_report, save_report
from jaxmusic.benchmarks.session import run_session
from jaxmusic.config import ConfigError


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
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Not complete" in printed
    assert "windows/s" in printed
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


def test_a_mistakes_code_is_the_processes() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "benchmark.py", "train", "--rounds", "0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 2, ran.stderr
    assert "--rounds is 0, but must be 1 or more" in ran.stderr
    assert "Traceback" not in ran.stderr
