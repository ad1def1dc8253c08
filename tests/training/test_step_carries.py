"""The step with state carried from window to window."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from helpers.keras_oracle import KerasOracle
from helpers.programs import quick_jit

from jaxmusic.config import Config, DataConfig, ModelConfig, TrainConfig
from jaxmusic.data.batch import Batch
from jaxmusic.data.songs.sampler import SongSampler
from jaxmusic.data.songs.windows import SongWindows
from jaxmusic.training.optimizer import make_optimizer
from jaxmusic.training.state import TrainState, model_graphdef, new_state
from jaxmusic.training.step import train_step

pytestmark = pytest.mark.slow  # each compiles a step

WINDOW, VOCABULARY = 5, 11
DATA = DataConfig(window=WINDOW, stride=WINDOW, across_songs=False, carry_state=True)
MODEL = ModelConfig(
    input="embedding", embedding_size=6, hidden_size=9, dense_size=7, layers=2, objective="every"
)
WITHOUT_DROPOUT = replace(MODEL, dropout=0.0, recurrent_dropout=0.0)


def make_config(rows: int, model: ModelConfig = MODEL) -> Config:
    return Config(data=DATA, model=model, train=TrainConfig(batch_size=rows, learning_rate=3e-2))


def step_of(config: Config, steps_per_epoch: int = 100) -> Any:
    return quick_jit(
        partial(
            train_step,
            graphdef=model_graphdef(config, VOCABULARY),
            optimizer=make_optimizer(config.train),
            seed=0,
            steps_per_epoch=steps_per_epoch,
        )
    )


def make_sampler(lengths: list[int], rows: int) -> SongSampler:
    offsets = np.cumsum([0, *lengths])
    tokens = np.random.default_rng(3).integers(VOCABULARY, size=offsets[-1], dtype=np.uint16)
    ranges = np.stack([offsets[:-1], offsets[1:]], axis=1)
    return SongSampler(SongWindows(tokens, ranges, WINDOW), rows, seed=1)


class CarryingKeras:
    """Keras's network, whose LSTM layers begin from a state that is given and return theirs.

    (Layers that are `stateful` keep none on Keras's JAX backend: only its variables that the model
    tracks come out of a compiled step.)
    """

    def __init__(self, config: Config, rows: int, state: TrainState) -> None:
        self.oracle = KerasOracle(config.model, VOCABULARY, WINDOW)
        self.oracle.set_weights(state.params, state.batch_stats)
        self.sizes = [(rows, config.model.hidden_size)] * 2 * config.model.layers
        ids = keras.layers.Input((WINDOW,))
        before = [keras.layers.Input((size,)) for _, size in self.sizes]
        x, after = self.oracle.embedding(ids), []
        for number, weights in enumerate(state.params["lstm"].values()):
            lstm = keras.layers.LSTM(
                config.model.hidden_size, return_sequences=True, return_state=True
            )
            x, h, c = lstm(x, initial_state=before[2 * number : 2 * number + 2])
            lstm.set_weights([weights[n] for n in ("kernel", "recurrent_kernel", "bias")])
            after += [h, c]
        dense, output = self.oracle.denses
        x = keras.ops.relu(dense(self.oracle.norms[0](x)))
        probabilities = keras.ops.softmax(output(self.oracle.norms[1](x)))
        self.model = keras.Model([ids, *before], probabilities)
        self.model.compile(
            optimizer=keras.optimizers.RMSprop(config.train.learning_rate),
            loss="sparse_categorical_crossentropy",
        )
        self.after = keras.Model([ids, *before], after)
        self.reset()

    def reset(self) -> None:
        """Songs begin."""
        self.states = [np.zeros(size, np.float32) for size in self.sizes]

    def train(self, batch: Batch) -> float:
        """Train on a batch that goes on from the one before; its loss."""
        inputs = [batch.inputs.astype(np.int32), *self.states]
        self.states = self.after.predict_on_batch(inputs)
        self.model.reset_metrics()
        return float(self.model.train_on_batch(inputs, batch.targets))


def test_keras_with_the_same_states_has_the_same_losses() -> None:
    """Two epochs of four songs of four windows, in two rows: all rows begin songs together."""
    config, sampler = make_config(2, WITHOUT_DROPOUT), make_sampler([4 * WINDOW + 1] * 4, 2)
    assert sampler.steps_per_epoch == 8
    state = new_state(config, VOCABULARY)
    oracle = CarryingKeras(config, 2, state)
    do_step = step_of(config, sampler.steps_per_epoch)
    ours, theirs, forgetful = [], [], []
    for step in range(16):
        batch = sampler.batch(step)
        assert batch.continued is not None and len(set(batch.continued.tolist())) == 1
        never = batch._replace(continued=np.zeros(2, bool))
        forgetful.append(float(do_step(state, never)[1]))
        state, loss = do_step(state, batch)
        ours.append(float(loss))
        if not batch.continued[0]:
            oracle.reset()
        theirs.append(oracle.train(batch))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    differs = ~np.isclose(forgetful, theirs, rtol=1e-3)
    assert differs.sum() == 12  # all but the first windows of songs
    found = jax.tree.leaves(state.carries)
    for part, expected in zip(found, oracle.states, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-3)


def random_batch(rows: int, weights: np.ndarray | None = None) -> Batch:
    ids = np.random.default_rng(5).integers(VOCABULARY, size=(rows, WINDOW + 1), dtype=np.uint16)
    weights = np.ones((rows, WINDOW), np.float32) if weights is None else weights
    return Batch(ids[:, :-1], ids[:, 1:], weights, np.arange(rows) % 2 == 0)


def carrying_state(config: Config) -> TrainState:
    """A state in the middle of songs."""
    state = new_state(config, VOCABULARY)
    rng = np.random.default_rng(7)
    carries = jax.tree.map(
        lambda part: jnp.asarray(rng.normal(size=part.shape), jnp.float32), state.carries
    )
    return state._replace(carries=carries, step=jnp.int32(3))


def test_rows_that_begin_a_song_start_from_zeros() -> None:
    config = make_config(4)
    do_step, state, batch = step_of(config), carrying_state(config), random_batch(4)
    zeroed = jax.tree.map(lambda part: part.at[1::2].set(0), state.carries)
    going_on = batch._replace(continued=np.ones(4, bool))
    expected = do_step(state._replace(carries=zeroed), going_on)
    jax.tree.map(np.testing.assert_array_equal, do_step(state, batch), expected)
    other = do_step(state, going_on)
    assert float(other[1]) != float(expected[1])


def test_the_loss_is_the_mean_over_targets_and_padding_counts_for_nothing() -> None:
    config = make_config(4)
    lengths = np.array([5, 2, 5, 1])
    weights = (np.arange(WINDOW) < lengths[:, None]).astype(np.float32)
    do_step, state = step_of(config), carrying_state(config)
    batch = random_batch(4, weights)
    after, loss = do_step(state, batch)
    padding = weights == 0
    other = batch._replace(
        inputs=np.where(padding, (batch.inputs + 1) % VOCABULARY, batch.inputs),
        targets=np.where(padding, (batch.targets + 3) % VOCABULARY, batch.targets),
    )
    # (The first padded input is a token of the song; only its target is none.)
    other.inputs[np.arange(4), np.minimum(lengths, 4)] = batch.inputs[
        np.arange(4), np.minimum(lengths, 4)
    ]
    changed, changed_loss = do_step(state, other)
    assert float(changed_loss) == float(loss)
    jax.tree.map(np.testing.assert_array_equal, changed.params, after.params)
    jax.tree.map(np.testing.assert_array_equal, changed.batch_stats, after.batch_stats)
    assert after.window_sum.value() == weights.sum() == 13
    assert after.loss_sum.value() == pytest.approx(13 * float(loss), rel=1e-6)


def test_rows_that_fill_a_batch_up_for_the_devices_change_nothing() -> None:
    """The state has the rows of a batch, however many devices there are."""
    config = make_config(3)
    state, batch = carrying_state(config), random_batch(3)
    plain, plain_loss = step_of(config)(state, batch)
    filled = jax.tree.map(lambda rows: np.concatenate([rows, rows[:1]]), batch)
    filled.weights[3], filled.continued[3] = 0, False
    after, loss = step_of(config)(state, filled)
    assert float(loss) == pytest.approx(float(plain_loss), rel=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), after.carries, plain.carries)
    assert {part.shape for part in jax.tree.leaves(after.carries)} == {(3, 9)}


def test_a_bad_step_keeps_the_state_that_is_carried() -> None:
    config = make_config(4)
    state = carrying_state(config)
    bad = random_batch(4)._replace(weights=np.full((4, WINDOW), np.inf, np.float32))
    after, loss = step_of(config)(state, bad)
    assert np.isnan(loss) and int(after.step) == 4
    jax.tree.map(np.testing.assert_array_equal, after.carries, state.carries)
    # Nor goes a carry on that is no number, though its row counts for nothing in the loss.
    carries = jax.tree.map(lambda part: part.at[2].set(jnp.nan), state.carries)
    weights = np.ones((4, WINDOW), np.float32)
    weights[2] = 0
    after, loss = step_of(config)(
        state._replace(carries=carries), random_batch(4)._replace(weights=weights)
    )
    assert np.isnan(loss)
