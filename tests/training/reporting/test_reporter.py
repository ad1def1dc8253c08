"""Reports of steps and epochs."""

import json
import math
from pathlib import Path

import jax.numpy as jnp
import pytest
from helpers.clock import Clock

from jaxmusic.config import Config, RunConfig, TrainConfig
from jaxmusic.console import Console
from jaxmusic.training.reporting.reporter import LossError, Reporter


def test_speed_and_waiting_where_each_dispatch_is_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    config = Config(train=TrainConfig(batch_size=4), run=RunConfig(log_steps=10))
    path = tmp_path / "metrics.jsonl"
    with Reporter(path, Console(silent=True), config, 0, 30, steps_per_epoch=10) as reporter:
        for step in (10, 20, 30):
            with reporter.timing_data():
                clock.now += 0.25
            clock.now += 100 if step == 10 else 0.75  # the first one is compiled
            reporter.add_steps(step, 10, jnp.ones(16))
            reporter.drain()
            clock.now += 5  # saved
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30]
    assert [rows[0][name] for name in ("windows_per_second", "data_wait")] == [None, None]
    for row in rows[1:]:
        assert row["windows_per_second"] == pytest.approx(40)
        assert row["data_wait"] == pytest.approx(0.25)


def test_damaged_rows_are_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    config = Config(train=TrainConfig(batch_size=4))
    good = [b'{"step": 1, "loss": 1.0}\n', b'{"step": 3, "skipped": true}\n']
    bad = [b"\xff\n", b"[]\n", b'{"step": "2"}\n', b'{"step": -1}\n', b'{"step": 2, "loss": NaN}\n']
    cut_off = b'{"step": 4, "loss"'  # by a kill: no damage

    def begin(*lines: bytes) -> str:
        path.write_bytes(b"".join(lines))
        with Reporter(path, Console(), config, 4, 100, steps_per_epoch=10) as reporter:
            assert reporter.bad_steps == 1
        assert path.read_bytes() == b"".join(good)
        return capsys.readouterr().out

    assert begin(*good) == begin(*good, cut_off) == ""
    assert begin(good[0], bad[0], good[1], cut_off) == (
        "metrics.jsonl: 1 damaged row was dropped (line 2)\n"
    )
    assert begin(*bad, *good) == (
        "metrics.jsonl: 5 damaged rows were dropped (lines 1, 2, 3, 4, 5)\n"
    )
    assert "(lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...)" in begin(*good, *bad * 3)


def test_a_loss_that_is_not_finite_names_its_step(tmp_path: Path) -> None:
    config = Config(train=TrainConfig(batch_size=4), run=RunConfig(log_steps=1))
    path = tmp_path / "metrics.jsonl"
    reporter = Reporter(path, Console(), config, 0, 100, steps_per_epoch=10)
    with reporter:
        reporter.add_steps(14, 1, jnp.array([1.5]))
        # Two steps in one dispatch, which has room for three.
        reporter.add_steps(16, 2, jnp.array([1.25, float("nan"), float("inf")]))
        with pytest.raises(LossError, match="is not finite in epoch 2, step 16"):
            reporter.drain()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    logged = [(row["step"], row["epoch"], row["loss"]) for row in rows]
    assert logged == [(14, 2, 1.5), (15, 2, 1.25)]


def test_an_epoch_without_a_loss_is_null_and_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    with Reporter(path, Console(), Config(), 0, 20, steps_per_epoch=10) as reporter:
        reporter.log_epoch(10, math.nan, {})
        reporter.log_epoch(20, math.nan, {"held_out_loss": 2.5})
    rows = [json.loads(line, parse_constant=pytest.fail) for line in path.open()]
    assert [row["epoch_loss"] for row in rows] == [None, None]
    assert [row.get("held_out_loss") for row in rows] == [None, 2.5]
    assert capsys.readouterr().out == (
        "epoch 1: no loss, as all its steps were skipped\n"
        "epoch 2: no loss, as all its steps were skipped, held out 2.5000\n"
    )
