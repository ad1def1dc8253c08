"""The LSTM cell: its state, its formulas, and the layers that it is run in.

The cell is that of Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000:
c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').

In names of arrays: T time, B batch, F features, H hidden units, 4H the gates i f g o of them.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmusic.config import Precision
from jaxmusic.nn.products import DOT_GENERAL


class Carry(NamedTuple):
    """What a layer hands from one step to the next: h and c, both (batch, hidden)."""

    h: jax.Array
    c: jax.Array


class Gates(NamedTuple):
    """The four gates after their sigmoid or tanh, or the gradients before it."""

    i: jax.Array
    f: jax.Array
    g: jax.Array
    o: jax.Array


class Weights(NamedTuple):
    """The weights of a layer, or their gradients."""

    kernel: jax.Array  # (features, 4 * hidden)
    recurrent_kernel: jax.Array  # (hidden, 4 * hidden)
    bias: jax.Array  # (4 * hidden,)


class Layer(NamedTuple):
    """A layer and what it is run on."""

    x_TxBxF: jax.Array
    weights: Weights
    before: Carry  # the first step
    masks: jax.Array | None  # (batch, 4, hidden), of recurrent dropout


class Stack(NamedTuple):
    """Layers, the first one first, and what they are run on."""

    x_TxBxF: jax.Array
    weights: tuple[Weights, ...]
    before: tuple[Carry, ...]
    masks: tuple[jax.Array | None, ...]

    def layers(self) -> Iterator[tuple[Weights, Carry, jax.Array | None]]:
        """The weights, the carry before the first step, and the masks of each layer."""
        return zip(self.weights, self.before, self.masks, strict=True)


def zero_carry(batch: int, hidden: int, dtype: DTypeLike = jnp.float32) -> Carry:
    """The carry before the first step."""
    zeros = jnp.zeros((batch, hidden), dtype)
    return Carry(h=zeros, c=zeros)


def continue_carry(carry: Carry, continued: jax.Array) -> Carry:
    """The carry in the rows that are `continued` (batch,), zeros in the others."""
    return Carry(*(jnp.where(continued[:, None], part, 0) for part in carry))


def activate(z: Sequence[jax.Array]) -> Gates:
    """The gates from their sums of products."""
    i, f, g, o = z
    return Gates(jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o))


def next_c(gates: Gates, c_before: jax.Array) -> jax.Array:
    """The carry's c after a step."""
    return gates.f * c_before + gates.i * gates.g


def next_carry(gates: Gates, c_before: jax.Array) -> Carry:
    """The carry after a step."""
    c = next_c(gates, c_before)
    return Carry(gates.o * jnp.tanh(c), c)


def cell_gradient(
    gates: Gates, c_before: jax.Array, c: jax.Array, d: Carry
) -> tuple[Gates, jax.Array]:
    """The gradients of the gates' sums and of c before a step, from those of the carry after it."""
    i, f, g, o = gates
    tanh_c = jnp.tanh(c)
    dc = d.c + d.h * o * (1 - tanh_c * tanh_c)
    dz = Gates(
        dc * g * i * (1 - i),
        dc * c_before * f * (1 - f),
        dc * i * (1 - g * g),
        d.h * tanh_c * o * (1 - o),
    )
    return dz, dc * f


def weight_gradients(
    x_TxBxF: jax.Array,
    previous_TxBxH: jax.Array,
    masks: jax.Array | None,
    dz_TxBx4H: jax.Array,
    precision: Precision,
) -> Weights:
    """The gradients of the weights from those of the gates; `previous` is h before each step.

    All steps in one product, after the loop: it is large, and over devices its sum is one
    all-reduce. Both axes, time and batch, are contracted as they are; flattened to one, the
    batch's sharding would be lost and everything gathered.
    """

    def over_steps_and_batch(left: jax.Array, right: jax.Array) -> jax.Array:
        return DOT_GENERAL[precision](left, right, (((0, 1), (0, 1)), ((), ())))

    if masks is None:
        recurrent = over_steps_and_batch(previous_TxBxH, dz_TxBx4H)
    else:
        recurrent = jnp.concatenate(
            [
                over_steps_and_batch(previous_TxBxH * masks[:, gate], dz)
                for gate, dz in enumerate(jnp.split(dz_TxBx4H, 4, axis=-1))
            ],
            axis=1,
        )
    kernel = over_steps_and_batch(x_TxBxF, dz_TxBx4H)
    return Weights(kernel, recurrent, dz_TxBx4H.sum((0, 1)))
