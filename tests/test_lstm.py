"""The recurrent layer, against a plain loop in NumPy (float64)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmusic.lstm import run_lstm
from jaxmusic.lstm_cell import Carry, dot


def sigmoid(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-x))
    return result


def plain_loop(
    inputs: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray, np.ndarray],
    carry: tuple[np.ndarray, np.ndarray],
    masks: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kernel, recurrent_kernel, bias = weights
    hidden = len(recurrent_kernel)
    h, c = carry
    outputs = []
    for time in range(inputs.shape[1]):
        gates = []
        for gate in range(4):
            part = slice(gate * hidden, (gate + 1) * hidden)
            gates.append(
                inputs[:, time] @ kernel[:, part]
                + (h * masks[:, gate]) @ recurrent_kernel[:, part]
                + bias[part]
            )
        i, f, g, o = gates
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1), h, c


@pytest.mark.parametrize(("batch", "time", "features", "hidden"), [(1, 1, 1, 1), (5, 7, 3, 4)])
@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize("with_carry", [False, True])
def test_equals_the_plain_loop(
    batch: int, time: int, features: int, hidden: int, with_masks: bool, with_carry: bool
) -> None:
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape)

    weights = normal(features, 4 * hidden), normal(hidden, 4 * hidden), normal(4 * hidden)
    inputs = normal(batch, time, features)
    carry = (np.zeros((batch, hidden)),) * 2
    if with_carry:
        carry = normal(batch, hidden), normal(batch, hidden)
    masks = np.ones((batch, 4, hidden))
    if with_masks:
        masks = rng.integers(0, 2, (batch, 4, hidden)) / 0.7
    expected, h, c = plain_loop(inputs, weights, carry, masks)
    outputs, after = run_lstm(
        jnp.asarray(inputs, jnp.float32),
        *(jnp.asarray(array, jnp.float32) for array in weights),
        carry=Carry(*(jnp.asarray(x, jnp.float32) for x in carry)) if with_carry else None,
        masks=jnp.asarray(masks, jnp.float32) if with_masks else None,
    )
    np.testing.assert_allclose(outputs, expected, atol=2e-6)
    np.testing.assert_allclose(after.h, h, atol=2e-6)
    np.testing.assert_allclose(after.c, c, atol=1e-5)


def test_bf16_rounds_the_operands_and_sums_in_float32() -> None:
    rng = np.random.default_rng(2)
    left = jnp.asarray(rng.normal(size=(4, 1000)), jnp.float32)
    right = jnp.asarray(rng.normal(size=(1000, 3)), jnp.float32)
    exact = np.asarray(left, np.float64) @ np.asarray(right, np.float64)
    rounded = np.asarray(left.astype(jnp.bfloat16), np.float64) @ np.asarray(
        right.astype(jnp.bfloat16), np.float64
    )
    product = dot(left, right, "bf16")
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, rounded, rtol=1e-4, atol=1e-4)
    assert np.abs(rounded - exact).max() > 1e-2
    np.testing.assert_allclose(dot(left, right, "f32"), exact, rtol=1e-4, atol=1e-4)


def test_gradients_pass_finite_differences() -> None:
    """In float32 of JAX against central differences of the float64 loop."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=shape) for shape in ((2, 12), (3, 12), (12,))]
    inputs, masks = rng.normal(size=(2, 5, 2)), rng.integers(0, 2, (2, 4, 3)) / 0.7
    towards = rng.normal(size=(2, 5, 3))
    zero = (np.zeros((2, 3)),) * 2

    def loss(*arrays: np.ndarray) -> float:
        kernel, recurrent, bias, x = arrays
        return float((plain_loop(x, (kernel, recurrent, bias), zero, masks)[0] * towards).sum())

    def jax_loss(
        kernel: jax.Array, recurrent: jax.Array, bias: jax.Array, x: jax.Array
    ) -> jax.Array:
        outputs, _ = run_lstm(x, kernel, recurrent, bias, masks=jnp.asarray(masks, jnp.float32))
        return (outputs * towards).sum()

    arrays = [*weights, inputs]
    gradients = jax.grad(jax_loss, argnums=(0, 1, 2, 3))(
        *(jnp.asarray(array, jnp.float32) for array in arrays)
    )
    for number, gradient in enumerate(gradients):
        for place in np.ndindex(arrays[number].shape):
            ends = []
            for sign in (1, -1):
                moved = [array.copy() for array in arrays]
                moved[number][place] += sign * 1e-5
                ends.append(loss(*moved))
            slope = (ends[0] - ends[1]) / 2e-5
            assert float(gradient[place]) == pytest.approx(slope, abs=2e-4)
