"""A layer as a scan over time, on any device: XLA compiles the loop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmusic.config import Precision
from jaxmusic.nn.cell import (
    Carry,
    Gates,
    Layer,
    activate,
    cell_gradient,
    next_carry,
    weight_gradients,
)
from jaxmusic.nn.devices import loop_unroll
from jaxmusic.nn.products import dot
from jaxmusic.nn.recurrence import Recurrence


class Residuals(NamedTuple):
    """What the forward pass leaves for the backward pass, besides h."""

    gates_TxBx4H: jax.Array
    c_TxBxH: jax.Array


def forward(precision: Precision, layer: Layer) -> tuple[jax.Array, Carry, Residuals]:
    """h at every step, the carry after the last one, and what `backward` needs."""
    recurrent_kernel, masks = layer.weights.recurrent_kernel, layer.masks
    gate_kernels = jnp.split(recurrent_kernel, 4, axis=1)
    # One product for all steps; only what depends on h is left to the loop.
    z_TxBx4H = dot(layer.x_TxBxF, layer.weights.kernel, precision) + layer.weights.bias

    def recurrent_product(h_BxH: jax.Array) -> jax.Array:
        if masks is None:
            return dot(h_BxH, recurrent_kernel, precision)
        return jnp.concatenate(
            [dot(h_BxH * masks[:, gate], gate_kernels[gate], precision) for gate in range(4)],
            axis=1,
        )

    def step(carry: Carry, z_Bx4H: jax.Array) -> tuple[Carry, Any]:
        gates = activate(jnp.split(z_Bx4H + recurrent_product(carry.h), 4, axis=1))
        after = next_carry(gates, carry.c)
        return after, (after.h, Residuals(jnp.concatenate(gates, axis=1), after.c))

    after, (h_TxBxH, residuals) = lax.scan(step, layer.before, z_TxBx4H, unroll=loop_unroll())
    return h_TxBxH, after, residuals


def backward(
    precision: Precision,
    layer: Layer,
    h_TxBxH: jax.Array,
    residuals: Residuals,
    dh_TxBxH: jax.Array | None,
    d_after: Carry,
) -> Layer:
    """The gradients of x, the weights and the carry before the first step."""
    recurrent_kernel, masks = layer.weights.recurrent_kernel, layer.masks
    gate_kernels = jnp.split(recurrent_kernel, 4, axis=1)

    def through_product(dz_Bx4H: jax.Array) -> jax.Array:
        if masks is None:
            return dot(dz_Bx4H, recurrent_kernel.T, precision)
        parts = jnp.split(dz_Bx4H, 4, axis=1)
        i, f, g, o = (
            masks[:, gate] * dot(parts[gate], gate_kernels[gate].T, precision) for gate in range(4)
        )
        return i + f + g + o

    def step(d: Carry, at_step: Any) -> tuple[Carry, jax.Array]:
        (gates_Bx4H, c), c_before, dh = at_step
        gates = Gates(*jnp.split(gates_Bx4H, 4, axis=1))
        d = d if dh is None else Carry(d.h + dh, d.c)
        dz, dc_before = cell_gradient(gates, c_before, c, d)
        dz_Bx4H = jnp.concatenate(dz, axis=1)
        return Carry(through_product(dz_Bx4H), dc_before), dz_Bx4H

    c_before_TxBxH = jnp.concatenate([layer.before.c[None], residuals.c_TxBxH[:-1]])
    steps = (residuals, c_before_TxBxH, dh_TxBxH)
    d_before, dz_TxBx4H = lax.scan(step, d_after, steps, reverse=True, unroll=loop_unroll())
    dx_TxBxF = dot(dz_TxBx4H, layer.weights.kernel.T, precision)
    previous_TxBxH = jnp.concatenate([layer.before.h[None], h_TxBxH[:-1]])
    d_weights = weight_gradients(layer.x_TxBxF, previous_TxBxH, masks, dz_TxBx4H, precision)
    return Layer(dx_TxBxF, d_weights, d_before, None)


SCAN = Recurrence(
    name="scan",
    why_not=lambda work: None,
    pays=lambda work: True,
    forward=forward,
    backward=backward,
    sources=("nn/scan.py",),
)
