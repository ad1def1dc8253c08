"""Dropout: the masks that a step of training multiplies with."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmusic.config import ModelConfig

# Numbers of masks from here on: keeps their keys apart from those that `split` gives the layers.
FIRST_NUMBER = 2**16


class Masks(NamedTuple):
    """What dropout multiplies with in one step: 0, or 1 / (1 - rate). None: no dropout there."""

    recurrent: tuple[jax.Array | None, ...]  # a layer each, (batch, 4, hidden)
    dense: jax.Array | None  # before the dense layer, shaped as its input
    output: jax.Array | None  # before the output layer, shaped as its input
    tokens: jax.Array | None = None  # (batch, window, 1): whole tokens of the input
    # A layer each, (batch, features): of its inputs, the same at every position.
    inputs: tuple[jax.Array | None, ...] | None = None
    lstm_output: jax.Array | None = None  # (batch, hidden), the same at every position
    # A layer each, (hidden, 4 * hidden): of the recurrent weights, the same for all rows.
    recurrent_kernels: tuple[jax.Array | None, ...] | None = None


def draw_masks(config: ModelConfig, key: jax.Array, batch: int, window: int) -> Masks:
    """The dropout of one step on a batch of windows.

    Each mask but those of the weights has the batch as its first axis, and JAX draws every element
    from its place in the array alone: a row's masks are the same in a batch of any size, on any
    number of devices.

    Masks that are constant over time are those of Gal and Ghahramani 2016, "A Theoretically
    Grounded Application of Dropout in Recurrent Neural Networks"; masks of the recurrent weights
    (DropConnect) those of Merity et al. 2018, "Regularizing and Optimizing LSTM Language Models".
    """
    hidden, layers = config.hidden_size, config.layers
    key_dense, key_output, *keys = jax.random.split(key, 2 + layers)
    # As in the notebooks, the last LSTM layer has no recurrent dropout, unless it is asked for.
    rates = [config.recurrent_dropout] * (layers - 1)
    rates.append(config.recurrent_dropout if config.recurrent_dropout_last else 0)
    positions = (window,) if config.objective == "every" else ()
    features = config.embedding_size if config.input == "embedding" else 1
    return Masks(
        recurrent=tuple(
            _draw_mask(each, rate, (batch, 4, hidden))
            for each, rate in zip(keys, rates, strict=True)
        ),
        dense=_draw_mask(key_dense, config.dropout, (batch, *positions, hidden))
        if config.dense_size
        else None,
        output=_draw_mask(
            key_output, config.dropout, (batch, *positions, config.dense_size or hidden)
        ),
        tokens=_draw_numbered(key, 0, config.token_dropout, (batch, window, 1)),
        inputs=_by_layer(
            key,
            2,
            [config.input_dropout, *[config.layer_dropout] * (layers - 1)],
            [(batch, features), *[(batch, hidden)] * (layers - 1)],
        ),
        lstm_output=_draw_numbered(key, 1, config.output_dropout, (batch, hidden)),
        recurrent_kernels=_by_layer(
            key, 2 + layers, [config.weight_drop] * layers, [(hidden, 4 * hidden)] * layers
        ),
    )


def _by_layer(
    key: jax.Array, number: int, rates: list[float], shapes: list[tuple[int, ...]]
) -> tuple[jax.Array | None, ...] | None:
    """A mask a layer, numbered from `number` on; None when no layer has one."""
    if not any(rates):
        return None
    return tuple(
        _draw_numbered(key, number + layer, rate, shape)
        for layer, (rate, shape) in enumerate(zip(rates, shapes, strict=True))
    )


def _draw_numbered(
    key: jax.Array, number: int, rate: float, shape: tuple[int, ...]
) -> jax.Array | None:
    """A mask with a key of its own, which is only made where it is needed."""
    if rate == 0:
        return None
    return _draw_mask(jax.random.fold_in(key, FIRST_NUMBER + number), rate, shape)


def _draw_mask(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array | None:
    if rate == 0:
        return None
    kept = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(kept, 1 / (1 - rate), 0.0)
