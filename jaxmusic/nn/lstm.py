"""The recurrent layer: an LSTM over time, with recurrent dropout and its own gradient.

There are several ways to compute it, a module each with the same two functions, `forward` and
`backward`: lstm_scan, lstm_cpu, lstm_pallas for a layer, lstm_wavefront for a stack of them.
"""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxmusic.config import BATCH_AXIS, Precision, Recurrence
from jaxmusic.errors import UserError
from jaxmusic.nn import scan as lstm_scan
from jaxmusic.nn import wavefront as lstm_wavefront
from jaxmusic.nn.cell import (
    Carry,
    Layer,
    Stack,
    Weights,
    precision_here,
    zero_carry,
)
from jaxmusic.nn.cpu import kernel as lstm_cpu
from jaxmusic.nn.cpu.build import why_unavailable

# Rows of a batch on a GPU from which on a layer alone keeps it busy: not measured, but reckoned
# (docs/performance.md).
MANY_ROWS = 512


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
            interpreted, which is slow); `wavefront` by XLA with fewer, larger programs a
            step, for GPUs. `auto` is `cpu` on CPUs that have a compiler and where it pays,
            `wavefront` on GPUs, else `scan`.

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
    how = How(precision_here(precision), _chosen(recurrence, layer))
    if how.recurrence == "wavefront":
        x_TxBxF, weights, before, layer_masks, present_TxB = layer
        stack = Stack(x_TxBxF, (weights,), (before,), (layer_masks,), present_TxB)
        h_TxBxH, (after,) = _lstm(how, stack)
    else:
        h_TxBxH, after = _lstm(how, layer)
    return jnp.swapaxes(h_TxBxH, 0, 1), after


def run_lstm_stack(
    inputs: jax.Array,
    layers: Sequence[Weights],
    *,
    carries: Sequence[Carry] | None = None,
    masks: Sequence[jax.Array | None] | None = None,
    steps_present: jax.Array | None = None,
    precision: Precision = "f32",
    recurrence: Recurrence = "auto",
) -> tuple[jax.Array, tuple[Carry, ...]]:
    """Run LSTM layers over a batch of sequences, each on what the one before it gives.

    Args:
        inputs: (batch, time, features).
        layers: their weights, at least one layer's.
        carries: each layer's before the first step; zeros without them.
        masks: each layer's, None for a layer without; no layer has any without them.
        steps_present, precision: see `run_lstm`.
        recurrence: `wavefront` runs all layers in one loop (lstm_wavefront.py tells how), with
            XLA, on any device; the others run them one after the other, as `run_lstm` does.
            `auto` runs them in one loop on GPUs, unless a batch has many rows.

    Returns:
        The last layer's h at every step, (batch, time, hidden), and each layer's carry after it.

    Derivatives are as those of `run_lstm`; the wavefront has second ones.

    Raises UserError as `run_lstm`, and ValueError when layers of a wavefront have different sizes.
    """
    batch = inputs.shape[0]
    if carries is None:
        sizes = [len(weights.recurrent_kernel) for weights in layers]
        carries = [zero_carry(batch, hidden, inputs.dtype) for hidden in sizes]
    masks = [None] * len(layers) if masks is None else masks
    if _as_wavefront(recurrence, batch, layers):
        stack = Stack(
            jnp.swapaxes(inputs, 0, 1),
            tuple(layers),
            tuple(carries),
            tuple(None if each is None else lax.stop_gradient(each) for each in masks),
            None if steps_present is None else steps_present.T,
        )
        h_TxBxH, every_after = _lstm(How(precision_here(precision), "wavefront"), stack)
        return jnp.swapaxes(h_TxBxH, 0, 1), every_after
    afters = []
    for weights, carry, mask in zip(layers, carries, masks, strict=True):
        inputs, after = run_lstm(
            inputs,
            *weights,
            carry=carry,
            masks=mask,
            steps_present=steps_present,
            precision=precision,
            recurrence=recurrence,
        )
        afters.append(after)
    return inputs, tuple(afters)


class How(NamedTuple):
    """What is fixed when a program is traced."""

    precision: Precision
    recurrence: Recurrence  # not "auto" any more


def why_not_cpu() -> str | None:
    """Why `auto` takes the scan on this CPU, in a few words; None where it doesn't."""
    return why_unavailable() if jax.default_backend() == "cpu" else None


def recurrence_used(recurrence: Recurrence, *, layers: int, steps: int, rows: int) -> str:
    """How layers of float32 weights are computed here: what `auto` comes to.

    One of the values of `recurrence` but `auto`, or for layers that `auto` has computed by a
    wavefront one after the other "wavefront, a layer at a time". Rows are divided by the devices of
    the mesh that `jax.set_mesh` has set.

    Raises UserError as `run_lstm`.
    """
    array: Any = jax.ShapeDtypeStruct((steps, rows, 1), jnp.float32)
    weights = Weights(array, array, array)
    if _as_wavefront(recurrence, rows, [weights] * layers):
        return "wavefront"
    chosen = _chosen(recurrence, Layer(array, weights, Carry(array, array), None, None))
    return f"{chosen}, a layer at a time" if chosen == "wavefront" and layers > 1 else chosen


def can_keep(recurrence: object) -> TypeGuard[Recurrence]:
    """Whether a run whose layers were computed so can go on so on this kind of device."""
    if recurrence == "cpu":
        return jax.default_backend() == "cpu" and why_unavailable() is None
    return recurrence in ("scan", "wavefront", "pallas")


def _chosen(recurrence: Recurrence, layer: Layer) -> Recurrence:
    if recurrence in ("scan", "wavefront", "pallas"):
        return recurrence
    if recurrence == "auto" and jax.default_backend() == "gpu":
        return "wavefront"
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


def _as_wavefront(recurrence: Recurrence, batch: int, layers: Sequence[Weights]) -> bool:
    if recurrence not in ("auto", "wavefront") or len(layers) == 1:
        return False
    same_size = len({weights.recurrent_kernel.shape[0] for weights in layers}) == 1
    if recurrence == "wavefront":
        if not same_size:
            raise ValueError("The layers of a wavefront must have as many hidden units each.")
        return True
    mesh = jax.sharding.get_abstract_mesh()
    devices = mesh.shape[BATCH_AXIS] if BATCH_AXIS in mesh.axis_names else 1
    return jax.default_backend() == "gpu" and same_size and batch // devices < MANY_ROWS


def _way(how: How) -> ModuleType:
    if how.recurrence == "wavefront":
        return lstm_wavefront
    if how.recurrence == "pallas":
        return import_module("jaxmusic.nn.pallas.layer")  # Pallas takes its time to import
    return lstm_cpu if how.recurrence == "cpu" else lstm_scan


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lstm(how: How, layer: Any) -> tuple[jax.Array, Any]:
    """`layer` is a Layer, or for the wavefront a Stack; then so are the carries after it."""
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
    d_after = jax.tree.map(
        lambda d: jnp.zeros(d.shape, d.dtype) if type(d) is SymbolicZero else d,
        d_after,
        is_leaf=lambda d: type(d) is SymbolicZero,
    )
    backward = _way(how).backward
    dx_TxBxF, d_weights, d_before = backward(how.precision, *residuals, every, d_after)
    return (type(residuals[0])(dx_TxBxF, d_weights, d_before, None, None),)


_lstm.defvjp(_forward_rule, _backward_rule, symbolic_zeros=True)
