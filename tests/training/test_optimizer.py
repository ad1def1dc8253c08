"""Optimizers and schedules against Keras and float64 NumPy; another one is an entry in a table."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
from helpers.small_runs import changed, small_config, small_corpus

from jaxmusic.config import TrainConfig
from jaxmusic.trainer import fit
from jaxmusic.training import optimizer
from jaxmusic.training.optimizer import learning_rate_at, make_optimizer


def test_rmsprop_is_kerass() -> None:
    """One step by hand: epsilon inside the square root."""
    rule = make_optimizer(TrainConfig(learning_rate=0.5))
    params, gradient = np.float32(2.0), np.float32(1e-4)
    update, _ = rule.update(gradient, rule.init(params), params)
    expected = -0.5 * 1e-4 / np.sqrt(0.1 * 1e-8 + 1e-7)
    assert float(update) == pytest.approx(expected, rel=1e-5)


def test_the_state_of_rmsprop_is_that_of_earlier_checkpoints() -> None:
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    ours = make_optimizer(TrainConfig()).init(params)
    theirs = optax.rmsprop(1e-3, decay=0.9, eps=1e-7, eps_in_sqrt=True).init(params)
    paths = [
        [path for path, _ in jax.tree_util.tree_leaves_with_path(state)] for state in (ours, theirs)
    ]
    assert paths[0] == paths[1] and len(ours) == len(theirs)


def random_tree(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"kernel": rng.normal(size=(5, 4)), "bias": rng.normal(size=4)}


def by_us(config: TrainConfig, steps: int) -> list[dict[str, np.ndarray]]:
    """The parameters after each step, from the gradients of `random_tree`."""
    rule = make_optimizer(config)
    params: Any = jax.tree.map(jnp.float32, random_tree(0))
    state, found = rule.init(params), []
    for step in range(steps):
        gradient = jax.tree.map(jnp.float32, random_tree(step + 1))
        updates, state = rule.update(gradient, state, params, step=step, total_steps=steps)
        params = optax.apply_updates(params, updates)
        found.append(jax.tree.map(np.asarray, params))
    return found


def by_formula(config: TrainConfig, steps: int) -> list[dict[str, np.ndarray]]:
    """The same in float64, as the papers have it: only the kernel decays."""
    params = random_tree(0)
    first, second = ({name: 0.0 * leaf for name, leaf in params.items()} for _ in range(2))
    found = []
    for step in range(steps):
        gradient = random_tree(step + 1)
        norm = np.sqrt(sum((leaf**2).sum() for leaf in gradient.values()))
        clip = 1.0 if config.clip_norm is None else min(1, config.clip_norm / norm)
        rate = config.learning_rate
        if step < config.warmup_steps:
            rate *= step / config.warmup_steps
        elif config.schedule == "cosine":
            progress = (step - config.warmup_steps) / (steps - config.warmup_steps)
            rate *= 0.5 * (1 + np.cos(np.pi * progress))
        for name, leaf in gradient.items():
            clipped = leaf * clip
            if config.optimizer == "adamw":
                first[name] = 0.9 * first[name] + 0.1 * clipped
                second[name] = 0.999 * second[name] + 0.001 * clipped**2
                mean, square = first[name] / (1 - 0.9 ** (step + 1)), second[name]
                update = mean / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
            else:
                second[name] = 0.9 * second[name] + 0.1 * clipped**2
                update = clipped / np.sqrt(second[name] + 1e-7)
            decay = config.weight_decay if name == "kernel" else 0
            params[name] = params[name] - rate * (update + decay * params[name])
        found.append(dict(params))
    return found


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(),
        TrainConfig(optimizer="adamw", weight_decay=0.3, learning_rate=0.02),
        TrainConfig(optimizer="adamw", clip_norm=0.5, schedule="cosine", warmup_steps=3),
        TrainConfig(optimizer="rmsprop", clip_norm=6, weight_decay=0.1, warmup_steps=4),
        TrainConfig(schedule="cosine", learning_rate=0.05),
    ],
    ids=["rmsprop", "decay", "clip and cosine", "rmsprop with all", "cosine"],
)
def test_updates_equal_the_formulas(config: TrainConfig) -> None:
    ours, theirs = by_us(config, 10), by_formula(config, 10)
    for left, right in zip(ours, theirs, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), left, right
        )


def by_keras(config: TrainConfig, steps: int) -> list[dict[str, np.ndarray]]:
    schedule: Any = config.learning_rate
    if config.schedule == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps - config.warmup_steps, warmup_target=config.learning_rate,
            warmup_steps=config.warmup_steps,
        )  # fmt: skip
    rule = keras.optimizers.AdamW(
        schedule, weight_decay=config.weight_decay, epsilon=1e-8,
        global_clipnorm=config.clip_norm,
    )  # fmt: skip
    rule.exclude_from_weight_decay(var_names=["bias"])
    variables = {
        name: keras.Variable(leaf.astype(np.float32), name=name)
        for name, leaf in random_tree(0).items()
    }
    found = []
    for step in range(steps):
        gradient = random_tree(step + 1)
        rule.apply([jnp.float32(gradient[name]) for name in variables], list(variables.values()))
        found.append({name: np.asarray(each.value) for name, each in variables.items()})
    return found


def test_adamw_with_clipping_and_a_cosine_is_kerass() -> None:
    """(Keras scales its epsilon with the bias correction; here the gradients are far above it.)"""
    config = TrainConfig(
        optimizer="adamw", learning_rate=0.03, weight_decay=0.2, clip_norm=2.0,
        schedule="cosine", warmup_steps=2,
    )  # fmt: skip
    for ours, theirs in zip(by_us(config, 8), by_keras(config, 8), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainConfig(learning_rate=2.0, schedule="cosine", warmup_steps=4)
    rates = [float(learning_rate_at(config, step, 14)) for step in range(16)]
    assert rates[:5] == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert rates[9] == pytest.approx(1.0) and rates[14] == rates[15] == pytest.approx(0, abs=1e-7)
    assert rates[4:15] == sorted(rates[4:15], reverse=True)
    # How long the run is, is not known yet: there is no decay.
    assert float(learning_rate_at(config, 9, 0)) == 2.0
    assert float(learning_rate_at(config, 1, 0)) == 0.5


def halved(progress: jax.Array) -> jax.Array:
    return jnp.where(progress < 0.5, 1.0, 0.5)


@pytest.mark.slow
def test_another_optimizer_and_schedule_are_entries_in_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = small_corpus(tmp_path / "songs")
    config = changed(small_config(corpus, tmp_path / "first"), "train", schedule="cosine")
    other = changed(config, "run", run_dir=str(tmp_path / "second"))
    expected = fit(config)
    monkeypatch.setitem(optimizer.SCHEDULES, "cosine", halved)
    monkeypatch.setitem(optimizer.OPTIMIZERS, "rmsprop", optax.scale_by_adam)
    found = fit(other)
    pairs = zip(jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True)
    assert all((ours != theirs).any() for ours, theirs in pairs)
