"""The meter and metrics.jsonl."""

import json
import math
from pathlib import Path

import jax.numpy as jnp
import pytest

from jaxmusic.config import Config, RunConfig, TrainConfig
from jaxmusic.console import Console, format_duration
from jaxmusic.storage.reading import LINE
from jaxmusic.training.metrics import (
    LossError,
    MetricsError,
    MetricsFile,
    Reporter,
    ThroughputMeter,
)


class Clock:
    """Time that passes when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("jaxmusic.training.metrics.time.monotonic", lambda: self.now)


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


def test_speed_and_waiting_where_each_dispatch_is_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    config = Config(train=TrainConfig(batch_size=4), run=RunConfig(log_steps=10))
    path = tmp_path / "metrics.jsonl"
    with Reporter(path, Console(silent=True), config, 0, 30, steps_per_epoch=10) as reporter:
        for step in (10, 20, 30):
            with reporter.fetching():
                clock.now += 0.25
            clock.now += 100 if step == 10 else 0.75  # the first one is compiled
            reporter.steps(step, 10, jnp.ones(16))
            reporter.drain()
            clock.now += 5  # saved
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30]
    assert [rows[0][name] for name in ("windows_per_second", "data_wait")] == [None, None]
    for row in rows[1:]:
        assert row["windows_per_second"] == pytest.approx(40)
        assert row["data_wait"] == pytest.approx(0.25)


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, from_step=0)
    for step in (2, 4, 6):
        first.write({"step": step, "loss": 1.0})
    first.close()
    with path.open("a") as file:
        file.write("[" * 100_000 + "\n")  # damaged, so that it costs more than it should to read
        file.write('{"step": 8, "lo')  # killed in the middle of a row
    second = MetricsFile(path, from_step=4)
    second.write({"step": 6, "loss": 2.0})
    second.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"step": 2, "loss": 1.0}, {"step": 4, "loss": 1.0}, {"step": 6, "loss": 2.0}]


def test_damaged_rows_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_file_without_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"x" * (LINE + 2))
    with pytest.raises(MetricsError, match="line of more than 1,048,576 bytes. Move it away"):
        MetricsFile(path, from_step=0)


def test_an_epochs_row_is_not_written_twice(tmp_path: Path) -> None:
    """The run was killed between the row and the checkpoint that has its score."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 4, "loss": 1.0}\n{"step": 4, "epoch_loss": 1.5}\n')
    MetricsFile(path, from_step=4, epoch_to_come=True).close()
    assert path.read_text() == '{"step": 4, "loss": 1.0}\n'


def test_a_loss_that_is_no_number_names_its_step(tmp_path: Path) -> None:
    config = Config(train=TrainConfig(batch_size=4), run=RunConfig(log_steps=1))
    path = tmp_path / "metrics.jsonl"
    reporter = Reporter(path, Console(), config, 0, 100, steps_per_epoch=10)
    with reporter:
        reporter.steps(14, 1, jnp.array([1.5]))
        # Two steps in one dispatch, which has room for three.
        reporter.steps(16, 2, jnp.array([1.25, float("nan"), float("inf")]))
        with pytest.raises(LossError, match="is no number in epoch 2, step 16"):
            reporter.drain()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    told = [(row["step"], row["epoch"], row["loss"]) for row in rows]
    assert told == [(14, 2, 1.5), (15, 2, 1.25)]


def test_an_epoch_without_a_loss_is_null_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    with Reporter(path, Console(), Config(), 0, 20, steps_per_epoch=10) as reporter:
        assert math.isnan(reporter.epoch(10, math.nan, None))
        assert reporter.epoch(20, math.nan, 2.5) == 2.5
    rows = [json.loads(line, parse_constant=pytest.fail) for line in path.open()]
    assert [row["epoch_loss"] for row in rows] == [None, None]
    assert "epoch 1: no loss, as all its steps were skipped\n" in capsys.readouterr().out


def test_durations_read_as_people_say_them() -> None:
    said = [format_duration(seconds) for seconds in (0.2, 45, 59.6, 725, 11_220)]
    assert said == ["0s", "45s", "1m 00s", "12m 05s", "3h 07m"]
