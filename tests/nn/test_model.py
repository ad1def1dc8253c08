"""The network against Keras, at the same weights and with the same dropout masks."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import nnx
from helpers.keras_oracle import KerasOracle
from helpers.paths import TESTS
from helpers.programs import quick_jit, run_apart

from jaxmusic.config import PRESETS, Config, ModelConfig, TrainConfig
from jaxmusic.data.batch import Batch
from jaxmusic.nn.dropout import Masks
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.training.optimizer import make_optimizer
from jaxmusic.training.state import (
    PyTree,
    TrainState,
    abstract_state,
    model_graphdef,
    new_model,
    new_state,
)
from jaxmusic.training.step import train_step, window_losses

VOCABULARY, WINDOW, BATCH = 37, 12, 24
SMALL = {"hidden_size": 24, "dense_size": 16, "embedding_size": 8}
MODELS = {
    "notebook": ModelConfig(**SMALL),  # type: ignore[arg-type]
    "embedding": ModelConfig(input="embedding", layers=2, **SMALL),  # type: ignore[arg-type]
    "every": ModelConfig(objective="every", layers=2, **SMALL),  # type: ignore[arg-type]
    "no dropout": ModelConfig(dropout=0, recurrent_dropout=0, layers=1, **SMALL),  # type: ignore[arg-type]
}


def shaken(tree: PyTree, seed: int) -> PyTree:
    """The tree with every number moved, so that zeros and ones hide no mistake."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: (
            leaf * rng.uniform(0.7, 1.3, leaf.shape).astype(np.float32)
            + rng.uniform(-0.1, 0.1, leaf.shape).astype(np.float32)
        ),
        tree,
    )


def small_batch(config: ModelConfig, rows: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    shape = (rows, WINDOW) if config.objective == "every" else (rows,)
    return rng.integers(0, VOCABULARY, (rows, WINDOW)), rng.integers(0, VOCABULARY, shape)


class Pair:
    """Our network and Keras's, at the same weights."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = Config(model=config)
        state = jax.jit(partial(new_state, self.config, VOCABULARY))()
        self.params = shaken(state.params, 1)
        self.batch_stats = jax.tree.map(jnp.abs, shaken(state.batch_stats, 2))
        self.graphdef = model_graphdef(self.config, VOCABULARY)
        self.oracle = KerasOracle(config, VOCABULARY, WINDOW)
        self.oracle.set_weights(self.params, self.batch_stats)

    @property
    def model(self) -> MusicLSTM:
        merged: MusicLSTM = nnx.merge(self.graphdef, self.params, self.batch_stats)
        return merged


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(MODELS[request.param])


def assert_trees_close(ours: PyTree, theirs: PyTree, *, relative: float) -> None:
    """Each array within `relative` of the other's largest value."""
    ours_flat = jax.tree_util.tree_leaves_with_path(ours)
    theirs_flat = jax.tree_util.tree_leaves_with_path(theirs)
    assert [path for path, _ in ours_flat] == [path for path, _ in theirs_flat]
    for (path, left), (_, right) in zip(ours_flat, theirs_flat, strict=True):
        scale = np.abs(right).max()
        error = np.abs(np.asarray(left) - np.asarray(right)).max()
        assert error <= relative * scale + 1e-9, f"{jax.tree_util.keystr(path)}: {error} of {scale}"


@pytest.mark.slow
def test_evaluation_outputs_equal_keras(pair: Pair) -> None:
    ids, _ = small_batch(pair.config.model)
    ours = jax.jit(lambda ids: jax.nn.softmax(pair.model(ids)))(jnp.asarray(ids))
    theirs, _ = quick_jit(partial(pair.oracle.model.stateless_call, training=False))(
        *pair.oracle.variables(), pair.oracle.inputs(ids)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


class Trained(NamedTuple):
    """What one pass in training gives."""

    loss: Any
    outputs: Any
    moving_averages: PyTree
    gradients: PyTree


@pytest.fixture(scope="module")
def trained(pair: Pair) -> tuple[Trained, Trained]:
    """Ours and Keras's, with the same masks."""
    ids, targets = small_batch(pair.config.model)
    masks = jax.jit(lambda: pair.model.draw_masks(jax.random.key(3), *ids.shape))()
    pair.oracle.set_masks(masks)
    return ours_trained(pair, ids, targets, masks), keras_trained(pair, ids, targets)


def ours_trained(pair: Pair, ids: np.ndarray, targets: np.ndarray, masks: Masks) -> Trained:
    def loss_of(params: PyTree) -> tuple[jax.Array, Any]:
        model = nnx.merge(pair.graphdef, params, pair.batch_stats)
        logits = model(jnp.asarray(ids), training=True, masks=masks)
        stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
        return window_losses(logits, jnp.asarray(targets)).mean(), (jax.nn.softmax(logits), stats)

    compute = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    (loss, (outputs, stats)), gradients = compute(pair.params)
    return Trained(loss, outputs, stats, gradients)


def keras_trained(pair: Pair, ids: np.ndarray, targets: np.ndarray) -> Trained:
    trainable, fixed = pair.oracle.variables()

    def loss_of(trainable: list[jax.Array]) -> tuple[jax.Array, Any]:
        outputs, after = pair.oracle.model.stateless_call(
            trainable, fixed, pair.oracle.inputs(ids), training=True
        )
        one_hot = jax.nn.one_hot(targets, VOCABULARY)
        loss: jax.Array = keras.losses.CategoricalCrossentropy()(one_hot, outputs)
        return loss, (outputs, after)

    compute = quick_jit(jax.value_and_grad(loss_of, has_aux=True))
    (loss, (outputs, after)), gradients = compute(trainable)
    return Trained(
        loss, outputs, pair.oracle.moving_averages(after), pair.oracle.in_our_order(gradients)
    )


@pytest.mark.slow
def test_training_outputs_and_moving_averages_equal_keras(trained: tuple[Trained, Trained]) -> None:
    ours, theirs = trained
    np.testing.assert_allclose(ours.outputs, theirs.outputs, atol=1e-5)
    assert_trees_close(ours.moving_averages, theirs.moving_averages, relative=1e-5)


@pytest.mark.slow
def test_loss_and_gradients_equal_keras(trained: tuple[Trained, Trained]) -> None:
    ours, theirs = trained
    assert float(ours.loss) == pytest.approx(float(theirs.loss), rel=1e-4)
    assert_trees_close(ours.gradients, theirs.gradients, relative=1e-4)


def test_the_loss_is_that_of_keras_without_clipping() -> None:
    """Keras by logits (as its TensorFlow backend takes them) is equal, with its gradient.

    By probabilities, on JAX, it clips them: it differs where the target's is below 1e-7, and there
    by what clipping takes off; its gradient is 0 there.
    """
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 9, (16, 8, VOCABULARY)).astype(np.float32)
    targets = rng.integers(0, VOCABULARY, (16, 8))
    one_hot = np.eye(VOCABULARY, dtype=np.float32)[targets]

    def by_keras(logits: jax.Array, *, from_logits: bool) -> jax.Array:
        outputs = logits if from_logits else jax.nn.softmax(logits)
        cross_entropy = keras.losses.CategoricalCrossentropy(from_logits, reduction=None)
        losses: jax.Array = cross_entropy(one_hot, outputs)
        return losses

    def by_us(logits: jax.Array) -> jax.Array:  # each target as a window of its own
        losses = window_losses(logits.reshape(-1, VOCABULARY), jnp.asarray(targets.ravel()))
        return losses.reshape(targets.shape)

    def with_gradient(losses: Callable[[jax.Array], jax.Array]) -> tuple[np.ndarray, np.ndarray]:
        compute = quick_jit(lambda logits: jax.vjp(losses, logits)[1](jnp.ones(targets.shape)))
        return np.asarray(quick_jit(losses)(logits)), np.asarray(compute(logits)[0])

    ours, our_gradient = with_gradient(by_us)
    unclipped, unclipped_gradient = with_gradient(partial(by_keras, from_logits=True))
    clipped, clipped_gradient = with_gradient(partial(by_keras, from_logits=False))
    np.testing.assert_allclose(ours, unclipped, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(our_gradient, unclipped_gradient, atol=1e-6)
    means = quick_jit(window_losses)(logits, targets)
    np.testing.assert_allclose(means, unclipped.mean(axis=1), rtol=1e-6)

    exact = logits.astype(np.float64)
    shares = np.exp(exact - exact.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    share = shares[one_hot > 0].reshape(targets.shape)  # of the targets
    below = share < 1e-7
    assert below.any() and not below.all()
    taken_off = np.where(below, np.log(1e-7 / share), 0)
    assert taken_off.max() > 5
    np.testing.assert_allclose(unclipped - clipped, taken_off, atol=1e-5)
    assert (clipped_gradient[below] == 0).all() and (our_gradient[below] != 0).any()
    np.testing.assert_allclose(clipped_gradient[~below], our_gradient[~below], atol=1e-6)


def curves(bits: int) -> tuple[np.ndarray, np.ndarray]:
    program = str(TESTS / "helpers" / "keras_curve.py")
    environment = {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": str(bits == 64)}
    both = json.loads(run_apart(program, environment=environment).splitlines()[-1])
    return np.array(both["ours"]), np.array(both["theirs"])


@pytest.mark.slow
def test_fifty_rmsprop_steps_follow_keras() -> None:
    """The notebook's loss curve on real windows without dropout, at every step.

    In float64: training is chaotic enough that in float32 two programs which sum in another
    order leave each other (with 64 units within some fifteen steps, as Keras leaves its own
    float64 curve).
    """
    ours, theirs = curves(64)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert ours[-10:].mean() < ours[:10].mean() - 0.15  # it did learn something


@pytest.mark.slow
def test_float32_follows_keras_until_rounding_parts_them() -> None:
    ours, theirs = curves(32)
    np.testing.assert_allclose(ours[:10], theirs[:10], rtol=1e-3)
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.01)


def test_classic_has_the_notebooks_size() -> None:
    """5,477,735 parameters at 359 tokens, moving averages included, as Keras counts them."""
    state = abstract_state(PRESETS["classic"], 359)
    leaves = jax.tree.leaves((state.params, state.batch_stats))
    assert sum(leaf.size for leaf in leaves) == 5_477_735


@pytest.mark.slow
def test_initial_values_are_distributed_as_keras_draws_them() -> None:
    config = Config(model=ModelConfig(hidden_size=96, dense_size=80, layers=2))
    ours = new_state(config, 50).params
    oracle = KerasOracle(config.model, 50, 10)
    theirs = oracle.in_our_order([v.value for v in oracle.model.trainable_variables])
    ours_flat = jax.tree_util.tree_leaves_with_path(ours)
    theirs_flat = jax.tree_util.tree_leaves_with_path(theirs)
    for (path, left), (_, right) in zip(ours_flat, theirs_flat, strict=True):
        name = jax.tree_util.keystr(path)
        if np.asarray(right).ndim == 1:  # biases, scales: fixed values
            np.testing.assert_array_equal(left, right, err_msg=name)
            continue
        # Uniform over the same range: the same bounds, mean and deviation.
        sigma = np.std(right)
        assert np.std(left) == pytest.approx(sigma, rel=0.1), name
        assert np.abs(np.mean(left)) < 5 * sigma / np.sqrt(right.size), name
        if "recurrent" not in name:
            assert np.abs(left).max() == pytest.approx(np.abs(right).max(), rel=0.02), name
    for layer in range(2):
        kernel = np.asarray(ours["lstm"][layer]["recurrent_kernel"])
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(96), atol=1e-5)


@pytest.mark.slow
def test_masks_keep_the_share_and_the_mean() -> None:
    model = new_model(Config(model=MODELS["notebook"]), VOCABULARY)
    masks = model.draw_masks(jax.random.key(0), 500, WINDOW)
    assert masks.recurrent[-1] is None  # the last LSTM layer has none
    for mask in (*masks.recurrent[:-1], masks.dense, masks.output):
        assert mask is not None
        values = np.unique(np.asarray(mask))
        np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-6)
        assert np.mean(mask) == pytest.approx(1, abs=0.03)
    assert masks.recurrent[0] is not None
    assert masks.recurrent[0].shape == (500, 4, 24)
    gates = np.asarray(masks.recurrent[0]) > 0
    assert np.mean(gates[:, 0] == gates[:, 1]) == pytest.approx(0.58, abs=0.03)  # independent


@pytest.mark.slow
def test_a_rows_masks_do_not_depend_on_the_batch_size() -> None:
    model = new_model(Config(model=MODELS["every"]), VOCABULARY)
    many = model.draw_masks(jax.random.key(7), 12, WINDOW)
    few = model.draw_masks(jax.random.key(7), 5, WINDOW)
    for left, right in zip(jax.tree.leaves(many), jax.tree.leaves(few), strict=True):
        np.testing.assert_array_equal(left[:5], right)


@pytest.mark.parametrize("name", ["notebook", "every"])
@pytest.mark.slow
def test_filling_rows_count_for_nothing(name: str) -> None:
    """A step on 9 windows equals one on the same 9 and 7 rows of filling."""
    config = Config(model=MODELS[name])
    ids, targets = small_batch(config.model, 16)
    step = partial(
        train_step,
        graphdef=model_graphdef(config, VOCABULARY),
        optimizer=make_optimizer(TrainConfig()),
        seed=3,
        steps_per_epoch=10,
    )

    def after(rows: int, counted: int) -> tuple[TrainState, jax.Array]:
        weights = (np.arange(rows) < counted).astype(np.float32)
        batch = Batch(ids[:rows], targets[:rows], weights)
        ended: tuple[TrainState, jax.Array] = jax.jit(step)(new_state(config, VOCABULARY), batch)
        return ended

    (plain, plain_loss), (filled, filled_loss) = after(9, 9), after(16, 9)
    assert float(plain_loss) == pytest.approx(float(filled_loss), rel=1e-6)
    assert_trees_close(plain.batch_stats, filled.batch_stats, relative=1e-6)
    assert_trees_close(plain.params, filled.params, relative=1e-4)
    assert filled.window_sum.value() == 9


@pytest.mark.slow
def test_recurring_in_two_parts_equals_one() -> None:
    model = Pair(MODELS["every"]).model
    ids = jnp.asarray(small_batch(MODELS["every"])[0])
    whole, _ = model.recur(ids)
    first, carries = model.recur(ids[:, :5])
    second, _ = model.recur(ids[:, 5:], carries=carries)
    np.testing.assert_allclose(jnp.concatenate([first, second], axis=1), whole, atol=1e-6)


@pytest.mark.slow
def test_bf16_stays_near_f32() -> None:
    ids, _ = small_batch(MODELS["notebook"])
    logits = []
    for precision in ("f32", "bf16"):
        config = Config(model=MODELS["notebook"], train=TrainConfig(precision=precision))
        state = new_state(config, VOCABULARY)
        model = nnx.merge(model_graphdef(config, VOCABULARY), state.params, state.batch_stats)
        logits.append(np.asarray(model(jnp.asarray(ids))))
    assert logits[0].dtype == logits[1].dtype == np.float32
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.05 * np.abs(logits[0]).max()
