"""Optimizers and schedules, and that another one is an entry in a table."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from helpers.small_runs import assert_same_run, changed, small_config, small_corpus

from jaxmusic.config import TrainConfig
from jaxmusic.trainer import fit
from jaxmusic.training import optimizer
from jaxmusic.training.optimizer import make_optimizer


def test_rmsprop_is_kerass() -> None:
    """One step by hand: epsilon inside the square root."""
    rule = make_optimizer(TrainConfig(learning_rate=0.5))
    params, gradient = np.float32(2.0), np.float32(1e-4)
    update, _ = rule.update(gradient, rule.init(params), params)
    expected = -0.5 * 1e-4 / np.sqrt(0.1 * 1e-8 + 1e-7)
    assert float(update) == pytest.approx(expected, rel=1e-5)


def cosine(config: TrainConfig, steps_per_epoch: int) -> optax.ScalarOrSchedule:
    return optax.cosine_decay_schedule(config.learning_rate, config.epochs * steps_per_epoch)


@pytest.mark.slow
def test_another_optimizer_and_schedule_train_and_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = small_corpus(tmp_path / "songs")
    config = small_config(corpus, tmp_path / "rmsprop")
    baseline = fit(config)
    monkeypatch.setitem(optimizer.OPTIMIZERS, "rmsprop", optax.adam)
    monkeypatch.setitem(optimizer.SCHEDULES, "constant", cosine)
    whole = changed(config, "run", run_dir=str(tmp_path / "whole"))
    parts = changed(config, "run", run_dir=str(tmp_path / "parts"))
    run = fit(whole)
    fit(changed(parts, "train", max_steps=5))
    fit(parts)
    assert_same_run(whole.run.run_dir, parts.run.run_dir)
    pairs = zip(jax.tree.leaves(run.params), jax.tree.leaves(baseline.params), strict=True)
    assert all((ours != theirs).any() for ours, theirs in pairs)


def test_a_schedule_knows_the_steps_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(optimizer.SCHEDULES, "cosine", cosine)
    monkeypatch.setitem(optimizer.OPTIMIZERS, "sgd", optax.sgd)
    config = TrainConfig(learning_rate=0.5, epochs=2)
    rule = make_optimizer(config, steps_per_epoch=3, optimizer="sgd", schedule="cosine")
    params = gradient = np.float32(1.0)
    state, updates = rule.init(params), []
    for _ in range(7):
        update, state = rule.update(gradient, state, params)
        updates.append(float(update))
    assert updates[0] == -0.5 and updates[3] == pytest.approx(-0.25) and updates[6] == 0
