"""The recurrent layer: an LSTM over time, with recurrent dropout, as a scan."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

Precision = Literal["f32", "bf16"]


class Carry(NamedTuple):
    """What a layer hands from one step to the next: h and c, both (batch, hidden)."""

    h: jax.Array
    c: jax.Array


def _dot_general(
    rounding: Precision,
    lhs: jax.Array,
    rhs: jax.Array,
    dimension_numbers: lax.DotDimensionNumbers,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    *,
    out_sharding: jax.sharding.NamedSharding | None = None,
) -> jax.Array:
    """`lax.dot_general` as Flax calls it, at our precision whatever `precision` it is given.

    f32 is true float32: TPUs and GPUs would round the operands without asking. bf16 rounds both
    operands to bfloat16 and sums in float32.
    """
    if rounding == "f32":
        return lax.dot_general(
            lhs, rhs, dimension_numbers, precision=lax.Precision.HIGHEST, out_sharding=out_sharding
        )
    return lax.dot_general(
        lhs.astype(jnp.bfloat16),
        rhs.astype(jnp.bfloat16),
        dimension_numbers,
        preferred_element_type=jnp.float32,
        out_sharding=out_sharding,
    )


DOT_GENERAL = {"f32": partial(_dot_general, "f32"), "bf16": partial(_dot_general, "bf16")}


def dot(lhs: jax.Array, rhs: jax.Array, precision: Precision) -> jax.Array:
    """The product over the last axis of `lhs` and the first of `rhs`."""
    contract = (((lhs.ndim - 1,), (0,)), ((), ()))
    return DOT_GENERAL[precision](lhs, rhs, contract)


def zero_carry(batch: int, hidden: int, dtype: DTypeLike = jnp.float32) -> Carry:
    """The carry before the first step."""
    zeros = jnp.zeros((batch, hidden), dtype)
    return Carry(h=zeros, c=zeros)


def run_lstm(
    inputs: jax.Array,
    kernel: jax.Array,
    recurrent_kernel: jax.Array,
    bias: jax.Array,
    *,
    carry: Carry | None = None,
    masks: jax.Array | None = None,
    precision: Precision = "f32",
) -> tuple[jax.Array, Carry]:
    """Run one LSTM layer over a batch of sequences.

    Args:
        inputs: (batch, time, features).
        kernel: (features, 4 * hidden), gates in the order i f c o, as Keras keeps them.
        recurrent_kernel: (hidden, 4 * hidden).
        bias: (4 * hidden,).
        carry: the carry before the first step; zeros without one.
        masks: (batch, 4, hidden), recurrent dropout: what h is multiplied with, for each gate,
            before the recurrent product; the same at every step (Gal and Ghahramani 2016,
            "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks").
        precision: of the matrix products.

    Returns:
        h at every step, (batch, time, hidden), and the carry after the last one.

    The cell is that of Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000:
    c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').
    """
    batch, hidden = inputs.shape[0], recurrent_kernel.shape[0]
    before = zero_carry(batch, hidden, inputs.dtype) if carry is None else carry
    # One product for all steps; only what depends on h is left to the loop.
    x_TxBx4H = dot(jnp.swapaxes(inputs, 0, 1), kernel, precision) + bias  # noqa: N806

    if masks is None:

        def recurrent_product(h: jax.Array) -> jax.Array:
            return dot(h, recurrent_kernel, precision)
    else:
        gate_kernels = jnp.split(recurrent_kernel, 4, axis=1)

        def recurrent_product(h: jax.Array) -> jax.Array:
            return jnp.concatenate(
                [dot(h * masks[:, gate], gate_kernels[gate], precision) for gate in range(4)],
                axis=1,
            )

    def step(carry: Carry, x_Bx4H: jax.Array) -> tuple[Carry, jax.Array]:  # noqa: N803
        i, f, g, o = jnp.split(x_Bx4H + recurrent_product(carry.h), 4, axis=1)
        c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return Carry(h, c), h

    after, h_TxBxH = lax.scan(step, before, x_TxBx4H)  # noqa: N806
    return jnp.swapaxes(h_TxBxH, 0, 1), after
