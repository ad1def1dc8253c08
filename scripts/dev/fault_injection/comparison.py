"""Compares two runs bit for bit."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmusic.run import open_run
from jaxmusic.run_dir.checkpoint import Checkpoints
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.training.state import abstract_state

TIMES = frozenset({"windows_per_second", "data_wait"})  # measured by the clock


def difference(left: Path, right: Path) -> str:
    """Return the first difference of two runs' folders, or an empty string.

    Compared are the newest state (with the optimiser's), the best checkpoint and the metrics.
    """
    for what, ours, theirs in zip(
        ("the newest checkpoint", "the best checkpoint"), _states(left), _states(right), strict=True
    ):
        if where := _different_leaf(ours, theirs):
            return f"{what}: {where}"
    ours, theirs = metrics_rows(left), metrics_rows(right)
    if len(ours) != len(theirs):
        return f"{len(ours)} rows of metrics and {len(theirs)}"
    for number, (row, other) in enumerate(zip(ours, theirs, strict=True), 1):
        if row != other:
            return f"row {number} of metrics.jsonl: {row} and {other}"
    return ""


def metrics_rows(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of a run without measured times."""
    lines = RunDir(run_dir).metrics.read_text(encoding="utf-8").splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name not in TIMES}
        for line in lines
    ]


def broken_metrics(run_dir: Path) -> str:
    """Return a gap or a repeat in the rows of a stopped run, or an empty string.

    The run must have --log-steps 1. Its last line may be truncated.
    """
    path = RunDir(run_dir).metrics
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    last = 0
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n") and number == len(lines):
            break
        row = json.loads(line)
        expected = last if "epoch_loss" in row else last + 1
        if row["step"] != expected:
            return f"row {number} of metrics.jsonl is of step {row['step']}, not {expected}"
        last = row["step"]
    return ""


def _states(run_dir: Path) -> tuple[Any, Any]:
    """Return all arrays of a run's newest checkpoint and of its best one."""
    run = open_run(run_dir)
    abstract = abstract_state(run.config, len(run.vocabulary)).to_dict()
    with Checkpoints(RunDir(run_dir).checkpoints, read_only=True) as checkpoints:
        latest = checkpoints.restore_latest(abstract)
    assert latest is not None
    best = {"step": run.step, "params": run.params, "batch_stats": run.batch_stats}
    return {"step": latest.step, "score": latest.score, **latest.state}, best


def _different_leaf(ours: Any, theirs: Any) -> str:
    left, right = (jax.tree_util.tree_leaves_with_path(tree) for tree in (ours, theirs))
    if [path for path, _ in left] != [path for path, _ in right]:
        return "other arrays"
    for (path, leaf), (_, other) in zip(left, right, strict=True):
        mine, its = np.asarray(leaf), np.asarray(other)
        if mine.dtype != its.dtype or mine.tobytes() != its.tobytes():
            return f"{jax.tree_util.keystr(path)} differs"
    return ""
