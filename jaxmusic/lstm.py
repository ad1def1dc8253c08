"""The recurrent layer: an LSTM over time, with recurrent dropout and its own gradient."""

from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import DTypeLike

Precision = Literal["f32", "bf16"]
Recurrence = Literal["auto", "scan", "pallas"]


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
    steps_present: jax.Array | None = None,
    precision: Precision = "f32",
    recurrence: Recurrence = "auto",
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
            They are drawn, not learnt: no gradient flows to them.
        steps_present: (batch, time) bool, False at steps that only pad a sequence: they leave
            the carry as it was, and the output there is its h.
        precision: of the matrix products.
        recurrence: how the loop over time is computed: `scan` by XLA, anywhere; `pallas` by a
            kernel for TPUs (elsewhere interpreted, which is slow); `auto` is the scan, the one
            that has been measured.

    Returns:
        h at every step, (batch, time, hidden), and the carry after the last one.

    The cell is that of Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000:
    c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').

    Its reverse derivative is written out here; forward derivatives (`jax.jvp`, `jax.hessian`)
    are refused by JAX with a TypeError.
    """
    batch, hidden = inputs.shape[0], recurrent_kernel.shape[0]
    before = zero_carry(batch, hidden, inputs.dtype) if carry is None else carry
    h_TxBxH, after = _lstm(
        How(precision, recurrence),
        jnp.swapaxes(inputs, 0, 1),
        Weights(kernel, recurrent_kernel, bias),
        before,
        None if masks is None else lax.stop_gradient(masks),
        None if steps_present is None else steps_present.T,
    )
    return jnp.swapaxes(h_TxBxH, 0, 1), after


class How(NamedTuple):
    """What is fixed when a program is traced."""

    precision: Precision
    recurrence: Recurrence


class Weights(NamedTuple):
    """A layer's, or their gradients."""

    kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array


class Kept(NamedTuple):
    """What the forward pass leaves for the backward pass, besides h."""

    gates_TxBx4H: jax.Array  # after their sigmoid or tanh
    c_TxBxH: jax.Array


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lstm(
    how: How,
    x_TxBxF: jax.Array,
    weights: Weights,
    before: Carry,
    masks: jax.Array | None,
    present_TxB: jax.Array | None,
) -> tuple[jax.Array, Carry]:
    h_TxBxH, after, _ = _forward(how, x_TxBxF, weights, before, masks, present_TxB)
    return h_TxBxH, after


def _forward(
    how: How,
    x_TxBxF: jax.Array,
    weights: Weights,
    before: Carry,
    masks: jax.Array | None,
    present_TxB: jax.Array | None,
) -> tuple[jax.Array, Carry, Any]:
    # One product for all steps; only what depends on h is left to the loop.
    z_TxBx4H = dot(x_TxBxF, weights.kernel, how.precision) + weights.bias
    loop = pallas_loops().pallas_forward if how.recurrence == "pallas" else scan_forward
    return loop(z_TxBx4H, weights.recurrent_kernel, before, masks, present_TxB, how.precision)


def pallas_loops() -> ModuleType:
    """The module of the TPU's kernel, imported when asked for: Pallas takes its time."""
    return import_module("jaxmusic.lstm_pallas")


def _forward_rule(how: How, *arguments: Any) -> tuple[Any, Any]:
    values = jax.tree.map(lambda argument: argument.value, arguments)
    h_TxBxH, after, kept = _forward(how, *values)
    return (h_TxBxH, after), (values, h_TxBxH, kept)


def _backward_rule(how: How, residuals: Any, cotangents: Any) -> Any:
    (x_TxBxF, weights, before, masks, present_TxB), h_TxBxH, kept = residuals
    dh_TxBxH, after = cotangents
    # A sequence nobody uses (the last layer's, when only its last h counts) adds nothing.
    every = None if type(dh_TxBxH) is SymbolicZero else dh_TxBxH
    d_after = Carry(*(jnp.zeros(d.shape, d.dtype) if type(d) is SymbolicZero else d for d in after))
    if how.recurrence == "pallas":
        # The barrier keeps the compiler from keeping z, which it sees is computed twice.
        x_TxBxF, d_after = lax.optimization_barrier((x_TxBxF, d_after))
        z_TxBx4H = dot(x_TxBxF, weights.kernel, how.precision) + weights.bias
        dz_TxBx4H, d_before = pallas_loops().pallas_backward(
            z_TxBx4H, weights.recurrent_kernel, before, masks, present_TxB, h_TxBxH, kept, every,
            d_after, how.precision,
        )  # fmt: skip
    else:
        dz_TxBx4H, d_before = scan_backward(
            weights.recurrent_kernel, before, masks, present_TxB, kept, every, d_after,
            how.precision,
        )  # fmt: skip
    previous_TxBxH = jnp.concatenate([before.h[None], h_TxBxH[:-1]])
    d_weights = weight_gradients(x_TxBxF, previous_TxBxH, masks, dz_TxBx4H, how.precision)
    dx_TxBxF = dot(dz_TxBx4H, weights.kernel.T, how.precision)
    return dx_TxBxF, d_weights, d_before, None, None


_lstm.defvjp(_forward_rule, _backward_rule, symbolic_zeros=True)


def weight_gradients(
    x_TxBxF: jax.Array,
    previous_TxBxH: jax.Array,
    masks: jax.Array | None,
    dz_TxBx4H: jax.Array,
    precision: Precision,
) -> Weights:
    """The weights' gradients from those of the gates, `previous` being h before each step.

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
    return Weights(over_steps_and_batch(x_TxBxF, dz_TxBx4H), recurrent, dz_TxBx4H.sum((0, 1)))


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

    after, (h_TxBxH, kept) = lax.scan(step, before, (z_TxBx4H, present_TxB))
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
    d_before, dz_TxBx4H = lax.scan(step, d_after, steps, reverse=True)
    return dz_TxBx4H, d_before


def _where(present_B: jax.Array, then: Carry, otherwise: Carry) -> Carry:
    return Carry(
        *(jnp.where(present_B[:, None], a, b) for a, b in zip(then, otherwise, strict=True))
    )
