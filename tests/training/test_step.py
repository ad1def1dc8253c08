"""The step, and several of them in one dispatch."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import MIDI_SONGS

from jaxmusic.config import PRESETS, Config, ModelConfig, RunConfig, TrainConfig
from jaxmusic.data.batch import Batch
from jaxmusic.data.batch_sampler import BatchSampler
from jaxmusic.data.loader import make_loader
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.mesh import make_mesh, replicate
from jaxmusic.preparation.prepare import prepare
from jaxmusic.training.compensated import CompensatedSum
from jaxmusic.training.optimizer import make_optimizer
from jaxmusic.training.programs import training_program
from jaxmusic.training.state import model_graphdef, new_state
from jaxmusic.training.step import train_step

SONGS = MIDI_SONGS


def losses_of(
    config: Config, windows: Windows, vocabulary_size: int, dispatches: list[int], room: int
) -> tuple[list[float], Any]:
    """Losses of the steps of some dispatches, with room for so many in each; the state after."""
    mesh = make_mesh(1)
    sampler = BatchSampler(windows, config.train.batch_size, seed=config.train.seed)
    program = training_program(
        config, vocabulary_size, mesh, steps_per_epoch=sampler.steps_per_epoch
    )
    steps = sum(dispatches)
    loader = make_loader(sampler, mesh, RunConfig(steps_per_dispatch=room), step=0, last_step=steps)
    state = replicate(new_state(config, vocabulary_size), mesh)
    losses: list[float] = []
    for count in dispatches:
        state, found = program(state, loader.take(len(losses), count), np.int32(count))
        losses += np.asarray(found)[:count].tolist()
    return losses, jax.device_get(state)


@pytest.mark.slow
def test_how_steps_are_divided_into_dispatches_changes_no_bit() -> None:
    tokens = np.random.default_rng(1).integers(0, 20, size=200, dtype=np.uint16)
    windows = Windows(tokens, [(0, 200)], 10)
    config = Config(
        data=replace(Config().data, window=10),
        model=ModelConfig(hidden_size=24, dense_size=16, layers=2),  # with dropout
        train=TrainConfig(batch_size=32),
    )
    expected = losses_of(config, windows, 20, [1] * 12, 6)
    for dispatches in ([6, 6], [1, 5, 4, 2]):
        found = losses_of(config, windows, 20, dispatches, 6)
        assert found[0] == expected[0]
        jax.tree.map(np.testing.assert_array_equal, found[1], expected[1])


@pytest.mark.slow
def test_an_epochs_sums_go_on_from_billions_of_windows() -> None:
    """31 steps of 128 after 2.4e9 windows, in one dispatch, which float32 would not notice."""
    tokens = np.random.default_rng(1).integers(0, 20, size=31 * 128 + 5, dtype=np.uint16)
    windows = Windows(tokens, [(0, len(tokens))], 5)
    config = Config(
        data=replace(Config().data, window=5),
        model=ModelConfig(hidden_size=4, dense_size=3, layers=1),
    )
    before, loss = 2_400_000_001, 2.5  # a whole number plus what float32 has no room for
    window_sum = CompensatedSum(jnp.float32(before - 1), jnp.float32(1))
    loss_sum = CompensatedSum(jnp.float32(before - 1), jnp.float32(loss))
    mesh, steps = make_mesh(1), 31
    sampler = BatchSampler(windows, 128, seed=0)
    # As if these windows were the end of a long epoch, whose steps before have been done.
    program = training_program(config, 20, mesh, steps_per_epoch=10**8)
    loader = make_loader(sampler, mesh, RunConfig(steps_per_dispatch=31), step=0, last_step=steps)
    began = new_state(config, 20)._replace(
        step=jnp.int32(1), window_sum=window_sum, loss_sum=loss_sum
    )
    state = replicate(began, mesh)
    state, losses = program(state, loader.take(0, steps), np.int32(steps))
    assert state.window_sum.value() == before + 31 * 128
    terms = np.asarray(losses)[:steps].astype(np.float64) * 128
    expected = before - 1 + loss + terms.sum()
    assert state.loss_sum.value() == pytest.approx(expected, rel=1e-13)
    assert np.float32(before) + np.float32(128) == np.float32(before)


@pytest.mark.slow
def test_a_bad_step_changes_nothing_but_their_number() -> None:
    config = Config(model=ModelConfig(hidden_size=6, dense_size=5, layers=1))
    state = new_state(config, 7)._replace(
        step=jnp.int32(3), loss_sum=CompensatedSum.zero().add(jnp.float32(2.5))
    )
    do_step = jax.jit(
        partial(
            train_step,
            graphdef=model_graphdef(config, 7),
            optimizer=make_optimizer(config.train),
            seed=0,
            steps_per_epoch=10,
        )
    )
    batch = Batch(np.ones((4, 5), np.uint16), np.ones(4, np.uint16), np.ones(4, np.float32))
    bad = batch._replace(weights=np.array([1, np.inf, 1, 1], np.float32))
    after, loss = do_step(state, bad)
    assert np.isnan(loss)
    assert int(after.step) == 4
    jax.tree.map(np.testing.assert_array_equal, after._replace(step=state.step), state)
    after, loss = do_step(state, batch)
    assert np.isfinite(loss) and after.loss_sum.value() > 2.5
    # Parameters may go wrong though the loss doesn't.
    huge = jax.tree.map(lambda leaf: leaf, state.params)
    huge["output"]["bias"] = np.full(7, 3e38, np.float32)
    after, loss = do_step(state._replace(params=huge), batch)
    assert np.isnan(loss)
    np.testing.assert_array_equal(after.params["output"]["bias"], huge["output"]["bias"])


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["last", "every"])
def test_bfloat16_learns_as_float32_does(tmp_path: Path, objective: Any) -> None:
    """200 steps on the bundled songs: the curve, smoothed over 20 steps, within 2 %."""
    corpus = prepare(SONGS, tmp_path / "corpus", workers=1)
    config = PRESETS["classic"]
    config = replace(
        config,
        data=replace(config.data, window=20),
        model=replace(config.model, hidden_size=48, dense_size=32, layers=2, objective=objective),
        train=replace(config.train, batch_size=64),
    )
    windows = Windows(corpus.tokens, [(0, len(corpus.tokens))], 20, objective=objective)
    curves = []
    for precision in ("f32", "bf16"):
        there = replace(config, train=replace(config.train, precision=precision))
        losses, _ = losses_of(there, windows, len(corpus.vocabulary), [50] * 4, 50)
        curves.append(np.convolve(losses, np.full(20, 1 / 20), mode="valid"))
    f32, bf16 = curves
    assert f32[-1] < f32[0] - 0.5  # it does learn
    assert np.abs(bf16 / f32 - 1).max() < 0.02
    assert (bf16 != f32).any()


@pytest.mark.slow
def test_the_averaged_weights_follow_the_formula() -> None:
    """Of the weights after each of 5 steps, in float64; a skipped step leaves them as they are."""
    config = Config(
        model=ModelConfig(hidden_size=6, dense_size=5, layers=1),
        train=TrainConfig(ema_decay=0.25, learning_rate=0.05),
    )
    do_step = jax.jit(
        partial(
            train_step,
            graphdef=model_graphdef(config, 7),
            optimizer=make_optimizer(config.train),
            seed=0,
            steps_per_epoch=10,
            ema_decay=0.25,
        )
    )
    batch = Batch(np.ones((4, 5), np.uint16), np.ones(4, np.uint16), np.ones(4, np.float32))
    state = new_state(config, 7)
    expected = jax.tree.map(np.float64, state.params)
    for kept in (1 / 10, 2 / 11, 3 / 12, 0.25, 0.25):
        state, _ = do_step(state, batch)
        expected = jax.tree.map(
            lambda average, now, kept=kept: kept * average + (1 - kept) * np.float64(now),
            expected,
            state.params,
        )
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), state.ema, expected)
    assert np.abs(state.ema["output"]["bias"] - state.params["output"]["bias"]).max() > 1e-3
    bad = batch._replace(weights=np.array([1, np.inf, 1, 1], np.float32))
    after, _ = do_step(state, bad)
    jax.tree.map(np.testing.assert_array_equal, after.ema, state.ema)
