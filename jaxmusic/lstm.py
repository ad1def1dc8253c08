"""The recurrent layer: an LSTM over time, with recurrent dropout and its own gradient.

There are several ways to compute it, a module each with the same two functions, `forward` and
`backward`: lstm_scan, lstm_cpu, lstm_pallas.
"""

from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxmusic import lstm_cpu, lstm_scan
from jaxmusic.errors import UserError
from jaxmusic.lstm_cell import Carry, Layer, Precision, Weights, zero_carry
from jaxmusic.lstm_cpu_build import why_unavailable

Recurrence = Literal["auto", "scan", "cpu", "pallas"]


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
        recurrence: how the loop over time is computed: `scan` by XLA, on any device; `cpu` by a
            kernel in C++, compiled when first used; `pallas` by a kernel for TPUs (elsewhere
            interpreted, which is slow). `auto` is `cpu` on CPUs that have a compiler and where
            it pays, else `scan`.

    Returns:
        h at every step, (batch, time, hidden), and the carry after the last one.

    The cell is that of Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000:
    c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').

    Its reverse derivative is written out here; forward derivatives (`jax.jvp`, `jax.hessian`)
    are refused by JAX with a TypeError. The scan has second derivatives; the kernels refuse
    them with a NotImplementedError.

    Raises UserError when the kernel asked for can't be had, with the reason.
    """
    batch, hidden = inputs.shape[0], recurrent_kernel.shape[0]
    layer = Layer(
        jnp.swapaxes(inputs, 0, 1),
        Weights(kernel, recurrent_kernel, bias),
        zero_carry(batch, hidden, inputs.dtype) if carry is None else carry,
        None if masks is None else lax.stop_gradient(masks),
        None if steps_present is None else steps_present.T,
    )
    h_TxBxH, after = _lstm(How(precision, _chosen(recurrence, layer)), layer)
    return jnp.swapaxes(h_TxBxH, 0, 1), after


class How(NamedTuple):
    """What is fixed when a program is traced."""

    precision: Precision
    recurrence: Recurrence  # not "auto" any more


def why_not_cpu() -> str | None:
    """Why `auto` takes the scan on this CPU, in a few words; None where it doesn't."""
    return why_unavailable() if jax.default_backend() == "cpu" else None


def _chosen(recurrence: Recurrence, layer: Layer) -> Recurrence:
    if recurrence in ("scan", "pallas"):
        return recurrence
    on_cpu = jax.default_backend() == "cpu"
    # Other types, float64 among them, are for the scan.
    able = all(a.dtype == jnp.float32 for a in (layer.x_TxBxF, *layer.weights, *layer.before))
    if recurrence == "auto":
        wanted = on_cpu and able and lstm_cpu.pays(layer.x_TxBxF)
        return "cpu" if wanted and why_unavailable() is None else "scan"
    reason = why_unavailable() if able else "it computes in float32 alone"
    if not on_cpu:
        reason = f"the devices here are of the kind {jax.default_backend()}"
    if reason is not None:
        raise UserError(f"--recurrence cpu: {reason}; use auto or scan.")
    return "cpu"


def _way(how: How) -> ModuleType:
    if how.recurrence == "pallas":
        return import_module("jaxmusic.lstm_pallas")  # Pallas takes its time to import
    return lstm_cpu if how.recurrence == "cpu" else lstm_scan


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lstm(how: How, layer: Layer) -> tuple[jax.Array, Carry]:
    h_TxBxH, after, _ = _way(how).forward(how.precision, layer, keep=False)
    return h_TxBxH, after


def _forward_rule(how: How, layer: Any) -> tuple[Any, Any]:
    layer = jax.tree.map(lambda argument: argument.value, layer)
    h_TxBxH, after, kept = _way(how).forward(how.precision, layer, keep=True)
    return (h_TxBxH, after), (layer, h_TxBxH, kept)


def _backward_rule(how: How, residuals: Any, cotangents: Any) -> Any:
    dh_TxBxH, d_after = cotangents
    # A sequence nobody uses (the last layer's, when only its last h counts) adds nothing.
    every = None if type(dh_TxBxH) is SymbolicZero else dh_TxBxH
    d_after = Carry(
        *(jnp.zeros(d.shape, d.dtype) if type(d) is SymbolicZero else d for d in d_after)
    )
    way = _way(how)
    dx_TxBxF, d_weights, d_before = way.backward(how.precision, *residuals, every, d_after)
    return (Layer(dx_TxBxF, d_weights, d_before, None, None),)


_lstm.defvjp(_forward_rule, _backward_rule, symbolic_zeros=True)
