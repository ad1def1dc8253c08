"""Trainings with schedules, averaged weights, early stopping and a length in minutes."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from helpers.small_runs import (
    STEPS_PER_EPOCH,
    assert_same_run,
    changed,
    command,
    rows_of,
    small_config,
    small_corpus,
)

from jaxmusic.config import Config, ConfigError
from jaxmusic.console import Console
from jaxmusic.distributed.signals import Stopped, StopSignals
from jaxmusic.run import open_run
from jaxmusic.trainer import fit
from jaxmusic.training import run_length
from jaxmusic.training.hooks import Hook

pytestmark = pytest.mark.slow  # whole trainings

ALL_OPTIONS: dict[str, Any] = {
    "optimizer": "adamw", "weight_decay": 0.02, "clip_norm": 1.0, "schedule": "cosine",
    "warmup_steps": 4, "ema_decay": 0.9,
}  # fmt: skip
PLAIN_NETWORK: dict[str, Any] = {
    "input": "embedding", "embedding_size": 6, "objective": "every", "dense_size": 0,
    "token_dropout": 0.05, "input_dropout": 0.2, "layer_dropout": 0.5, "output_dropout": 0.5,
    "recurrent_dropout": 0.25, "weight_drop": 0.2,
}  # fmt: skip
SWITCHES = {"batch_norm": False, "tied_output": True, "recurrent_dropout_last": True}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("songs"))


@pytest.fixture
def config(corpus: Path, tmp_path: Path) -> Config:
    """The network has neither batch norm nor a dense layer, and dropout of all kinds."""
    config = small_config(corpus, tmp_path / "run")
    return changed(config, "model", **PLAIN_NETWORK, **SWITCHES)


def stop_after(polls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal comes after the training has polled for one so many times."""

    class Signals(StopSignals):
        left = polls

        def poll(self) -> int | None:
            self.left -= 1
            return None if self.left >= 0 else signal.SIGTERM

    monkeypatch.setattr("jaxmusic.trainer.StopSignals", Signals)


def fit_in_parts(config: Config, polls: list[int]) -> None:
    for number in polls:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
            stop_after(number, patch)
            fit(config)
    fit(config)


def test_a_stopped_run_with_options_equals_an_uninterrupted_one(
    config: Config, tmp_path: Path
) -> None:
    config = changed(changed(config, "train", **ALL_OPTIONS), "data", held_out=0.3)
    whole = changed(config, "run", run_dir=str(tmp_path / "whole"))
    fit(whole)
    fit_in_parts(config, [2, 5])
    assert_same_run(whole.run.run_dir, config.run.run_dir)
    losses = [row["step"] for row in rows_of(whole.run.run_dir) if "held_out_loss" in row]
    assert losses == [7, 14]


def test_a_cosine_ends_with_an_evaluation_in_mid_epoch(config: Config) -> None:
    """Its last weights are the best ones, wherever in an epoch they are."""
    config = changed(changed(config, "data", held_out=0.3), "train", max_steps=11)
    config = changed(config, "train", **ALL_OPTIONS)  # the program of the test before
    run = fit(config)
    rows = [row for row in rows_of(config.run.run_dir) if "held_out_loss" in row]
    assert [(row["step"], row["epoch"]) for row in rows] == [(7, 1), (11, 2)]
    assert run.step == min(rows, key=lambda row: row["held_out_loss"])["step"]
    again = fit(config)
    assert again.step == run.step
    assert rows_of(config.run.run_dir)[-1] == rows[-1]
    # More steps: the cosine is stretched, and the epoch goes on.
    fit(changed(config, "train", max_steps=None))
    steps = [row["step"] for row in rows_of(config.run.run_dir) if "held_out_loss" in row]
    assert steps == [7, 11, 14]


def with_losses(config: Config, losses: list[float], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Train with these held-out losses; what the console was told."""
    told: list[str] = []
    console = Console()
    monkeypatch.setattr(console, "log", told.append)
    coming = iter(losses)

    class Evaluator:
        def __init__(self, *_: Any) -> None: ...

        def compile(self, state: Any) -> None: ...

        def evaluate(self, state: Any, should_stop: Any) -> dict[str, float]:
            return {"held_out_loss": next(coming)}

    with monkeypatch.context() as patch:
        patch.setattr("jaxmusic.trainer.HeldOutEvaluator", Evaluator)
        fit(config, console=console)
    return told


def test_patience_ends_a_run_and_it_stays_ended(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(changed(config, "data", held_out=0.3), "train", epochs=9, patience=2)
    losses = [3.0, 2.0, 2.5, 1.5, 1.5, 1.75]
    told = with_losses(config, losses, monkeypatch)
    words = "Ended after step 42: the held-out loss was lowest (1.5000) 2 epochs before"
    assert any(line.startswith(words) for line in told), told
    assert open_run(str(config.run.run_dir)).step == 4 * 7
    # Started again it stays ended, and with more epochs too.
    told = with_losses(changed(config, "train", epochs=20), [], monkeypatch)
    assert any(line.startswith(words) for line in told), told
    # In parts it ends at the same step.
    parts = changed(config, "run", run_dir=str(tmp_path / "parts"))
    with_losses(changed(parts, "train", epochs=5), losses[:5], monkeypatch)
    told = with_losses(parts, losses[5:], monkeypatch)
    assert any(line.startswith(words) for line in told), told
    assert_same_run(config.run.run_dir, parts.run.run_dir)


@pytest.mark.raises_at("jaxmusic/config.py:check", "held-out loss")
def test_patience_needs_held_out_songs(config: Config) -> None:
    with pytest.raises(ConfigError, match="--patience 3 needs a held-out loss: give --held-out"):
        fit(changed(config, "train", patience=3))


class Ticks(Hook):
    """Move a clock on by so many seconds a step."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        self.clock, self.seconds, self.last = clock, seconds, 0

    def after_steps(self, step: int, losses: jax.Array) -> None:
        self.clock[0] += self.seconds * (step - self.last)
        self.last = step


def test_minutes_become_steps_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 2 s a step, 50 s have room for 25 steps: planned after the first epoch of 9.

    Stopped after step 11 and gone on with at another speed, the run has 25 steps still.
    """
    clock = [100.0]
    init = run_length.RunLength.__init__

    def by_steps(self: Any, *arguments: Any) -> None:
        init(self, *arguments, clock=lambda: clock[0])

    monkeypatch.setattr(run_length.RunLength, "__init__", by_steps)
    config = changed(config, "train", **ALL_OPTIONS | {"minutes": 50 / 60})
    config = changed(config, "run", steps_per_dispatch=1)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_after(10, patch)
        fit(config, hooks=[Ticks(clock, 2.0)])
    run = fit(config, hooks=[Ticks(clock, 7.0)])
    epochs = [row["step"] for row in rows_of(config.run.run_dir) if "epoch_loss" in row]
    assert epochs == [9, 18, 25]
    assert open_run(run.path, "latest").step == 25


def test_eight_devices_equal_one_with_options(config: Config, tmp_path: Path) -> None:
    config = changed(changed(config, "run", log_steps=1), "train", **ALL_OPTIONS)
    on_eight = changed(config, "run", run_dir=str(tmp_path / "eight"))
    fit(changed(config, "run", devices=1))
    options = ALL_OPTIONS | PLAIN_NETWORK
    flags = {name.replace("_", "-"): value for name, value in options.items()}
    switches = ["--no-batch-norm", "--tied-output", "--recurrent-dropout-last"]
    subprocess.run(
        [*command(on_eight, **flags), *switches],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
        capture_output=True, timeout=300, check=True,
    )  # fmt: skip
    losses, runs = [], []
    for run_dir in (config.run.run_dir, on_eight.run.run_dir):
        losses.append([row["loss"] for row in rows_of(run_dir) if "loss" in row])
        runs.append(open_run(str(run_dir), "latest"))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert len(losses[0]) == 2 * STEPS_PER_EPOCH
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), runs[0].params, runs[1].params
    )
