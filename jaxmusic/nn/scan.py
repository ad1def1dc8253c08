"""The recurrent layer as a scan over time, on any device: XLA compiles the loop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmusic.config import Precision
from jaxmusic.nn.cell import DOT_GENERAL, Carry, Layer, Weights, dot, steps_a_turn


class Kept(NamedTuple):
    """What the forward pass leaves for the backward pass, besides h."""

    gates_TxBx4H: jax.Array  # after their sigmoid or tanh
    c_TxBxH: jax.Array


def forward(
    precision: Precision, layer: Layer, *, keep: bool = True
) -> tuple[jax.Array, Carry, Kept]:
    """h at every step, the carry after the last one, and what `backward` needs.

    Whether to `keep` that is for the compiler to see.
    """
    del keep
    # One product for all steps; only what depends on h is left to the loop.
    z_TxBx4H = dot(layer.x_TxBxF, layer.weights.kernel, precision) + layer.weights.bias
    return scan_forward(
        z_TxBx4H,
        layer.weights.recurrent_kernel,
        layer.before,
        layer.masks,
        layer.present_TxB,
        precision,
    )


def backward(
    precision: Precision,
    layer: Layer,
    h_TxBxH: jax.Array,
    kept: Kept,
    dh_TxBxH: jax.Array | None,
    d_after: Carry,
) -> tuple[jax.Array, Weights, Carry]:
    """The gradients of x, the weights and the carry before the first step.

    `dh` is the gradient of h at every step (None: of none), `d_after` that of the last carry.
    """
    dz_TxBx4H, d_before = scan_backward(
        layer.weights.recurrent_kernel,
        layer.before,
        layer.masks,
        layer.present_TxB,
        kept,
        dh_TxBxH,
        d_after,
        precision,
    )
    dx_TxBxF = dot(dz_TxBx4H, layer.weights.kernel.T, precision)
    previous_TxBxH = jnp.concatenate([layer.before.h[None], h_TxBxH[:-1]])
    d_weights = weight_gradients(layer.x_TxBxF, previous_TxBxH, layer.masks, dz_TxBx4H, precision)
    return dx_TxBxF, d_weights, d_before


def weight_gradients(
    x_TxBxF: jax.Array,
    previous_TxBxH: jax.Array,
    masks: jax.Array | None,
    dz_TxBx4H: jax.Array,
    precision: Precision,
) -> Weights:
    """The weights' gradients from those of the gates; `previous` is h before each step.

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


def scan_forward(
    z_TxBx4H: jax.Array,
    recurrent_kernel: jax.Array,
    before: Carry,
    masks: jax.Array | None,
    present_TxB: jax.Array | None,
    precision: Precision,
) -> tuple[jax.Array, Carry, Kept]:
    """The loop over time, `z` being what the gates get from the inputs and the bias.

    Returns h at every step, the carry after the last, and what `scan_backward` needs.
    """
    gate_kernels = jnp.split(recurrent_kernel, 4, axis=1)

    def recurrent_product(h_BxH: jax.Array) -> jax.Array:
        if masks is None:
            return dot(h_BxH, recurrent_kernel, precision)
        return jnp.concatenate(
            [dot(h_BxH * masks[:, gate], gate_kernels[gate], precision) for gate in range(4)],
            axis=1,
        )

    def step(carry: Carry, at_step: Any) -> tuple[Carry, Any]:
        z_Bx4H, present_B = at_step
        i, f, g, o = jnp.split(z_Bx4H + recurrent_product(carry.h), 4, axis=1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        c = f * carry.c + i * g
        after = Carry(o * jnp.tanh(c), c)
        if present_B is not None:
            after = _where(present_B, after, carry)
        return after, (after.h, Kept(jnp.concatenate([i, f, g, o], axis=1), after.c))

    after, (h_TxBxH, kept) = lax.scan(step, before, (z_TxBx4H, present_TxB), unroll=steps_a_turn())
    return h_TxBxH, after, kept


def scan_backward(
    recurrent_kernel: jax.Array,
    before: Carry,
    masks: jax.Array | None,
    present_TxB: jax.Array | None,
    kept: Kept,
    dh_TxBxH: jax.Array | None,
    d_after: Carry,
    precision: Precision,
) -> tuple[jax.Array, Carry]:
    """The loop over time backwards: gradients of z and of the carry before the first step.

    `dh` is the gradient of h at every step (None: of none), `d_after` that of the last carry.
    """
    kernels = jnp.split(recurrent_kernel, 4, axis=1)

    def through_product(dz_Bx4H: jax.Array) -> jax.Array:
        if masks is None:
            return dot(dz_Bx4H, recurrent_kernel.T, precision)
        parts = jnp.split(dz_Bx4H, 4, axis=1)
        i, f, g, o = (
            masks[:, gate] * dot(parts[gate], kernels[gate].T, precision) for gate in range(4)
        )
        return i + f + g + o

    def step(d: Carry, at_step: Any) -> tuple[Carry, jax.Array]:
        (gates_Bx4H, c), c_before, dh, present_B = at_step
        i, f, g, o = jnp.split(gates_Bx4H, 4, axis=1)
        d = d if dh is None else Carry(d.h + dh, d.c)
        tanh_c = jnp.tanh(c)
        dc = d.c + d.h * o * (1 - tanh_c * tanh_c)
        dz_Bx4H = jnp.concatenate(
            [
                dc * g * i * (1 - i),
                dc * c_before * f * (1 - f),
                dc * i * (1 - g * g),
                d.h * tanh_c * o * (1 - o),
            ],
            axis=1,
        )
        if present_B is not None:
            dz_Bx4H = jnp.where(present_B[:, None], dz_Bx4H, 0)
        d_before = Carry(through_product(dz_Bx4H), dc * f)
        if present_B is not None:
            d_before = _where(present_B, d_before, d)
        return d_before, dz_Bx4H

    c_before_TxBxH = jnp.concatenate([before.c[None], kept.c_TxBxH[:-1]])
    steps = (kept, c_before_TxBxH, dh_TxBxH, present_TxB)
    d_before, dz_TxBx4H = lax.scan(step, d_after, steps, reverse=True, unroll=steps_a_turn())
    return dz_TxBx4H, d_before


def _where(present_B: jax.Array, then: Carry, otherwise: Carry) -> Carry:
    return Carry(
        *(jnp.where(present_B[:, None], a, b) for a, b in zip(then, otherwise, strict=True))
    )
