"""Hooks of a training."""

from pathlib import Path
from typing import Any

import jax
import pytest
from helpers.small_runs import changed, rows_of, small_config, small_corpus

from jaxmusic.config import Config
from jaxmusic.trainer import fit
from jaxmusic.training.hooks import Hook, Phase


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(small_corpus(tmp_path / "songs"), tmp_path / "run")


class Recorder(Hook):
    """Notes each call, and what is on disk then."""

    def __init__(self, run_dir: str | None) -> None:
        self.calls: list[Any] = []
        self.metrics: list[dict[str, float]] = []
        self.run_dir = run_dir

    def on_phase(self, phase: Phase, step: int) -> None:
        self.calls.append((phase, step))

    def after_steps(self, step: int, losses: jax.Array) -> None:
        assert losses.ndim == 1
        self.calls.append(("steps", step))

    def after_epoch(self, step: int, metrics: dict[str, float]) -> None:
        self.calls.append(("epoch", step))
        self.metrics.append(metrics)
        row = rows_of(self.run_dir)[-1]
        assert {name: row[name] for name in metrics} == metrics

    def before_save(self, step: int) -> None:
        self.calls.append(("before save", step))

    def after_save(self, step: int) -> None:
        self.calls.append(("after save", step))


@pytest.mark.slow
def test_hooks_are_called_at_their_moments(config: Config) -> None:
    config = changed(changed(config, "data", held_out=0.3), "run", steps_per_dispatch=4)
    first, second = Recorder(config.run.run_dir), Recorder(config.run.run_dir)
    fit(changed(config, "train", epochs=1), hooks=[first, second])
    assert first.calls == second.calls == [
        ("preparing", 0), ("restoring", 0), ("compiling", 0), ("steps", 4), ("steps", 7),
        ("evaluating", 7), ("epoch", 7), ("before save", 7), ("after save", 7), ("ending", 7),
    ]  # fmt: skip
    assert [sorted(metrics) for metrics in first.metrics] == [["epoch_loss", "held_out_loss"]]


class Failing(Hook):
    def after_steps(self, step: int, losses: jax.Array) -> None:
        raise ValueError("from the hook")


def test_a_failing_hook_ends_the_training(config: Config) -> None:
    with pytest.raises(ValueError, match="from the hook"):
        fit(config, hooks=[Failing()])
