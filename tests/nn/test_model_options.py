"""The network's options against a plain loop in float64 NumPy, and its gradient by differences."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmusic.config import Config, ModelConfig, RecurrenceName, RunConfig
from jaxmusic.nn.dropout import Masks, draw_masks
from jaxmusic.training.state import abstract_state, model_graphdef, new_state
from jaxmusic.training.step import window_losses

VOCABULARY, WINDOW, ROWS = 11, 6, 4
SMALL: dict[str, Any] = {
    "input": "embedding", "embedding_size": 5, "hidden_size": 7, "layers": 3, "batch_norm": False,
    "dropout": 0.2, "recurrent_dropout": 0.25, "token_dropout": 0.2, "input_dropout": 0.3,
    "layer_dropout": 0.4, "output_dropout": 0.3, "weight_drop": 0.3,
}  # fmt: skip
MODELS = {
    "tied, no dense": ModelConfig(
        tied_output=True, dense_size=0, recurrent_dropout_last=True, objective="every", **SMALL
    ),
    "tied, dense": ModelConfig(tied_output=True, dense_size=5, objective="last", **SMALL),
    "no dense": ModelConfig(dense_size=0, objective="every", **SMALL),
    "scalar": ModelConfig(dense_size=4, **SMALL | {"input": "scalar"}),
}


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def lstm(x: Any, layer: Any, masks: Any, kernel_mask: Any) -> np.ndarray:
    """One layer, a gate and a step at a time: h at every step (batch, time, hidden)."""
    hidden = len(layer["recurrent_kernel"])
    recurrent_kernel = layer["recurrent_kernel"] * (1 if kernel_mask is None else kernel_mask)
    h = c = np.zeros((len(x), hidden))
    outputs = []
    for time in range(x.shape[1]):
        sums = []
        for gate in range(4):
            columns = slice(gate * hidden, (gate + 1) * hidden)
            dropped = h if masks is None else h * masks[:, gate]
            z = x[:, time] @ layer["kernel"][:, columns] + dropped @ recurrent_kernel[:, columns]
            sums.append(z + layer["bias"][columns])
        i, f, g, o = sums
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def reference_loss(
    config: ModelConfig, params: Any, masks: Masks | None, ids: np.ndarray, targets: np.ndarray
) -> tuple[float, np.ndarray]:
    """The loss and the logits in float64; `masks` None: evaluation."""
    masks = masks or Masks((None,) * config.layers, None, None)
    masks = jax.tree.map(np.float64, masks)
    x: Any
    x = params["embedding"]["embedding"][ids] if config.input == "embedding" else (
        ids[..., None] / VOCABULARY
    )  # fmt: skip
    x = x if masks.tokens is None else x * masks.tokens
    for number in range(config.layers):
        input_mask = masks.inputs[number] if masks.inputs else None
        x = x if input_mask is None else x * input_mask[:, None]
        kernel_mask = masks.recurrent_kernels[number] if masks.recurrent_kernels else None
        x = lstm(x, params["lstm"][number], masks.recurrent[number], kernel_mask)
    if masks.lstm_output is not None:
        x = x * masks.lstm_output[:, None]
    x = x if config.objective == "every" else x[:, -1]
    if config.dense_size:
        x = x if masks.dense is None else x * masks.dense
        x = np.maximum(x @ params["dense"]["kernel"] + params["dense"]["bias"], 0)
    x = x if masks.output is None else x * masks.output
    if config.tied_output:
        if "projection" in params:
            x = x @ params["projection"]["kernel"] + params["projection"]["bias"]
        logits = x @ params["embedding"]["embedding"].T + params["output"]["bias"]
    else:
        logits = x @ params["output"]["kernel"] + params["output"]["bias"]
    chosen = np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return float((np.log(np.exp(logits).sum(axis=-1)) - chosen).mean()), logits


class Case:
    """A network with other weights than its initial ones, a batch and masks."""

    def __init__(self, model: ModelConfig, recurrence: RecurrenceName = "auto") -> None:
        self.config = Config(model=model, run=RunConfig(recurrence=recurrence))
        rng = np.random.default_rng(1)
        abstract = abstract_state(self.config, VOCABULARY).params
        self.params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) * 0.5, abstract)
        self.ids = rng.integers(0, VOCABULARY, (ROWS, WINDOW))
        shape = (ROWS, WINDOW) if model.objective == "every" else (ROWS,)
        self.targets = rng.integers(0, VOCABULARY, shape)
        self.masks = jax.jit(partial(draw_masks, model, batch=ROWS, window=WINDOW))(
            jax.random.key(0)
        )

    def loss(self, params: Any, masks: Masks | None) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(model_graphdef(self.config, VOCABULARY), params, {})
        logits = model(jnp.asarray(self.ids), training=masks is not None, masks=masks)
        return window_losses(logits, jnp.asarray(self.targets)).mean(), logits

    @property
    def params32(self) -> Any:
        return jax.tree.map(jnp.float32, self.params)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_outputs_and_gradients_equal_the_plain_loops(name: str) -> None:
    case = Case(MODELS[name])
    model = case.config.model
    for masks in (None, case.masks):
        (loss, logits), gradients = jax.jit(jax.value_and_grad(case.loss, has_aux=True))(
            case.params32, masks
        )
        expected, by_hand = reference_loss(model, case.params, masks, case.ids, case.targets)
        np.testing.assert_allclose(logits, by_hand, atol=2e-5)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
    paths = jax.tree_util.tree_leaves_with_path(gradients)
    assert len(paths) == len(jax.tree.leaves(case.params))
    rng = np.random.default_rng(2)
    for path, gradient in paths:  # along a random direction of each array
        direction = rng.normal(size=gradient.shape)

        def moved(by: float, path: Any = path, direction: np.ndarray = direction) -> float:
            params = jax.tree_util.tree_map_with_path(
                lambda here, leaf: leaf + by * direction if here == path else leaf, case.params
            )
            return reference_loss(model, params, case.masks, case.ids, case.targets)[0]

        slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
        found = float((np.float64(gradient) * direction).sum())
        assert found == pytest.approx(slope, rel=1e-3, abs=2e-5), jax.tree_util.keystr(path)


@pytest.mark.parametrize("recurrence", ["scan", "wavefront"])
@pytest.mark.slow
def test_each_recurrence_drops_out_the_same(recurrence: RecurrenceName) -> None:
    """Wavefronts, which compute all layers in one loop, take them one by one here."""
    case, other = Case(MODELS["no dense"], "cpu"), Case(MODELS["no dense"], recurrence)
    found, expected = (
        jax.jit(jax.value_and_grad(each.loss, has_aux=True))(each.params32, each.masks)
        for each in (other, case)
    )
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-6, rtol=1e-4), found, expected)


def test_the_plain_token_lstm_has_no_other_weights() -> None:
    """2 x 384 on an embedding of 256: each is there once, and no batch statistics."""
    plain = ModelConfig(
        input="embedding", embedding_size=256, hidden_size=384, layers=2, dense_size=0,
        batch_norm=False, tied_output=True, objective="every",
    )  # fmt: skip
    state = abstract_state(Config(model=plain), 289)
    assert jax.tree.leaves(state.batch_stats) == []
    assert set(state.params) == {"embedding", "lstm", "projection", "output"}
    sizes = [
        289 * 256, (256 + 384 + 1) * 4 * 384, (384 + 384 + 1) * 4 * 384, 385 * 256, 289,
    ]  # fmt: skip
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == sum(sizes)
    same_size = ModelConfig(**{**SMALL, "hidden_size": 5}, tied_output=True, dense_size=0)
    assert "projection" not in abstract_state(Config(model=same_size), 9).params


@pytest.mark.slow
def test_initial_logits_of_a_tied_output_are_small() -> None:
    """The embedding's rows have a norm of about 1: the first loss is that of equal chances."""
    model = ModelConfig(
        input="embedding", embedding_size=32, hidden_size=48, layers=2, dense_size=0,
        batch_norm=False, tied_output=True, objective="every",
    )  # fmt: skip
    config = Config(model=model)
    state = new_state(config, 50)
    network = nnx.merge(model_graphdef(config, 50), state.params, state.batch_stats)
    ids = np.random.default_rng(0).integers(0, 50, (4, 20))
    loss = window_losses(network(jnp.asarray(ids)), jnp.asarray(ids)).mean()
    assert float(loss) == pytest.approx(np.log(50), abs=0.1)
