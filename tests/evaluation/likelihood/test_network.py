"""Likelihood: the network's, against its logits in one call; intervals, against their theory."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmusic.config import Config, DataConfig, ModelConfig, Objective, TrainConfig
from jaxmusic.evaluation.likelihood import network
from jaxmusic.evaluation.likelihood.network import TokenBits, count_units, estimate, network_bits
from jaxmusic.run import Run
from jaxmusic.tokenizers.vocabulary import Vocabulary
from jaxmusic.training.state import new_state

TOKENS = ["C4", "D4", "E4", "F4", "G4", "A4", "B4", "0.4.7"]
WINDOW, STRIDE = 6, 2
RNG = np.random.default_rng(0)
SONGS = [RNG.integers(0, len(TOKENS), length) for length in (40, 1, 0, 17, 6, 7, 23)]


def make_run(objective: Objective) -> Run:
    """Of a network as it begins, with batch statistics that are not the initial ones."""
    config = Config(
        data=DataConfig(window=WINDOW, stride=STRIDE),
        model=ModelConfig(
            input="embedding", embedding_size=5, hidden_size=8, dense_size=6, layers=2,
            objective=objective,
        ),
        train=TrainConfig(batch_size=8),
    )  # fmt: skip
    state = new_state(config, len(TOKENS))
    rng = np.random.default_rng(1)
    stats = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), state.batch_stats
    )
    vocabulary = Vocabulary.of(TOKENS)
    primers = np.zeros((1, WINDOW), np.int64)
    return Run(Path("run"), config, vocabulary, 0, state.params, stats, primers)


def bits_of(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    chosen = np.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return np.asarray(np.log2(np.exp(logits).sum(axis=-1)) - chosen / np.log(2))


@pytest.mark.slow
def test_the_state_is_carried_through_whole_songs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In several chunks and batches of songs, as in one call."""
    monkeypatch.setattr(network, "CHUNK", 8)
    monkeypatch.setattr(network, "ROWS", 3)
    run = make_run("every")
    model = nnx.merge(run.graphdef, run.params, run.batch_stats)
    rows = np.zeros((len(SONGS), max(map(len, SONGS))), np.int64)
    for row, song in zip(rows, SONGS, strict=True):
        row[: len(song)] = song  # what comes after a song changes nothing before
    logits = np.asarray(jax.jit(model)(jnp.asarray(rows)))
    for song, own, found in zip(SONGS, logits, network_bits(run, SONGS), strict=True):
        assert found.positions.tolist() == list(range(1, len(song)))
        expected = bits_of(own[: max(len(song) - 1, 0)], song[1:])
        np.testing.assert_allclose(found.bits, expected, atol=1e-5)


@pytest.mark.slow
def test_each_token_is_predicted_from_its_own_window() -> None:
    run = make_run("last")
    for song, found in zip(SONGS, network_bits(run, SONGS), strict=True):
        assert found.positions.tolist() == list(range(WINDOW, len(song), STRIDE))
        if len(found.bits):
            windows = np.stack([song[end - WINDOW : end] for end in found.positions])
            expected = bits_of(run.logits(windows), song[found.positions])
            np.testing.assert_allclose(found.bits, expected, atol=1e-5)


@pytest.mark.slow
def test_of_too_many_windows_some_are_chosen_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("last")
    whole = network_bits(run, SONGS)
    monkeypatch.setattr(network, "MOST_WINDOWS", 10)
    some = network_bits(run, SONGS)
    assert sum(len(each.bits) for each in some) == 10
    for found, of_all in zip(some, whole, strict=True):
        known = dict(zip(of_all.positions.tolist(), of_all.bits, strict=True))
        expected = [known[position] for position in found.positions.tolist()]
        np.testing.assert_allclose(found.bits, expected, atol=1e-5)
    assert len(some[0].bits) >= 4 and len(some[-1].bits) >= 2


def test_units_of_partly_scored_songs_are_reduced_in_proportion() -> None:
    scored = [TokenBits(np.arange(1, 11), np.ones(10)), TokenBits(np.arange(5), np.ones(5))]
    found = count_units(scored, [11, 21], {"note": [8, 12]})
    assert found["token"].tolist() == [10, 5]
    assert found["note"].tolist() == [8, 3]


def test_an_estimate_is_a_ratio_of_sums_with_the_interval_of_its_standard_error() -> None:
    rng = np.random.default_rng(2)
    units = rng.uniform(50, 150, 300)
    totals = 3 * units + rng.normal(0, 40, 300)
    found = estimate(totals, units)
    assert found.value == pytest.approx(totals.sum() / units.sum())
    residuals = totals - found.value * units
    error = residuals.std(ddof=1) * np.sqrt(300) / units.sum()
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.15 * error)


def test_one_song_has_no_interval() -> None:
    found = estimate(np.array([6.0]), np.array([3.0]))
    assert found.value == 2 and np.isnan(found.low) and np.isnan(found.high)
    assert np.isnan(estimate(np.array([1.0, 1.0]), np.zeros(2)).value)
