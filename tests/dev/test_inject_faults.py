"""`inject_faults.py`: a few stops, and that it would see what it looks for."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from fault_injection.comparison import broken_metrics, difference
from fault_injection.report import Stop, stop_line, summary_lines
from fault_injection.trial import Trial
from helpers.paths import ROOT
from helpers.programs import QUICK_COMPILATION
from tools import inject_faults

from jaxmusic.run import open_run
from jaxmusic.run_dir.checkpoint import Checkpoints
from jaxmusic.training.state import abstract_state


def run_inject_faults(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, str(ROOT / "scripts" / "dev" / "inject_faults.py"),
            "--folder", str(folder), "--epochs", "3", *flags,
        ],
        capture_output=True, text=True, timeout=600, check=False,
        env=os.environ | QUICK_COMPILATION,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that were killed, terminated and interrupted, each in the middle of something."""
    folder = tmp_path_factory.mktemp("faults")
    ran = run_inject_faults(
        folder, "--stops", "4", "--seed", "3", "--signals", "KILL", "TERM", "INT", "--json",
        str(folder / "stops.json"), "--phases", "compiling", "stepping", "evaluating", "saving",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Run 1 is over: bit for bit the undisturbed one." in ran.stdout
    return folder


def test_stopped_runs_end_as_the_undisturbed_one(stopped: Path) -> None:
    stops = json.loads((stopped / "stops.json").read_text())
    assert [stop["number"] for stop in stops] == [1, 2, 3, 4]
    assert len({(stop["signal"], stop["phase"]) for stop in stops}) >= 3
    assert difference(stopped / "undisturbed" / "run", stopped / "run-1" / "run") == ""


def test_other_metrics_are_seen(stopped: Path) -> None:
    undisturbed, other = stopped / "undisturbed" / "run", stopped / "run-1" / "run"
    metrics = other / "metrics.jsonl"
    content = metrics.read_text()
    last = json.loads(content.splitlines()[-1])
    metrics.write_text(content.replace(f'"epoch_loss": {last["epoch_loss"]}', '"epoch_loss": 1.5'))
    assert difference(undisturbed, other).startswith(
        f"row {len(content.splitlines())} of metrics.jsonl"
    )
    metrics.write_text("\n".join(content.splitlines()[:-1]) + "\n")
    assert "rows of metrics and" in difference(undisturbed, other)
    metrics.write_text(content)
    assert difference(undisturbed, other) == ""


def test_one_changed_bit_is_seen(stopped: Path, tmp_path: Path) -> None:
    """In the optimizer's state, before any loss shows it."""
    undisturbed, other = stopped / "undisturbed" / "run", tmp_path / "run"
    shutil.copytree(undisturbed, other)
    run = open_run(other)
    abstract = abstract_state(run.config, len(run.vocabulary)).to_dict()
    with Checkpoints(other / "checkpoints") as checkpoints:
        latest = checkpoints.restore_latest(abstract)
        assert latest is not None
        moment = jax.tree.leaves(latest.state["optimizer"])[0]
        moment.reshape(-1).view(np.uint32)[0] ^= 1
        checkpoints.save(latest.step, latest.state, score=latest.score)
    unlike = difference(undisturbed, other)
    assert unlike.startswith("the newest checkpoint: ['optimizer']") and "differs" in unlike


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([1, 2, 3], ""),
        ([1, 2, 4], "row 3 of metrics.jsonl is of step 4, not 3"),
        ([1, 2, 2], "row 3 of metrics.jsonl is of step 2, not 3"),
        ([2, 3], "row 1 of metrics.jsonl is of step 2, not 1"),
    ],
)
def test_gaps_and_repeats_are_seen(tmp_path: Path, steps: list[int], fault: str) -> None:
    rows = [json.dumps({"step": step, "loss": 1.0}) + "\n" for step in steps]
    (tmp_path / "metrics.jsonl").write_text("".join(rows) + '{"step": 9')
    assert broken_metrics(tmp_path) == fault
    with (tmp_path / "metrics.jsonl").open("w") as file:
        file.writelines([*rows, json.dumps({"step": steps[-1], "epoch_loss": 1.0}) + "\n"])
    assert broken_metrics(tmp_path) == fault


@pytest.mark.raises_at("scripts/dev/tools/inject_faults.py:_demand")
def test_a_failed_check_is_an_error() -> None:
    trial = Trial(None, [1], ["Error: no"], "stepping", 3, 0, 0.0, [])
    with pytest.raises(inject_faults.LostDataError, match=r"A check failed: exit codes \[1\]"):
        inject_faults._check(trial, None, ROOT)


def test_stops_are_summarised_by_phase() -> None:
    stops = [
        Stop(1, 1, "KILL", 0, "saving", 20, 15, 0.5, [-9]),
        Stop(2, 1, "KILL", 0, "saving", 30, None, 1.5, [-9]),
        Stop(3, 1, "TERM", 1, "stepping", 1000, 1000, 2.5, [75, 75]),
    ]
    assert stop_line(stops[2]).split() == [
        "3", "1", "TERM", "stepping", "1,000", "1,000", "2.50s", "75", "75",
    ]  # fmt: skip
    _, stepping, saving = summary_lines(stops)
    assert " ".join(stepping.split()) == "stepping TERM 1 0, most 0 2.5s, most 2.5s"
    assert " ".join(saving.split()) == "saving KILL 2 5, most 5 1.5s, most 1.5s"
