"""The LSTM layers over time: the ways to compute them, the choice, and their own gradient."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeGuard, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxmusic.config import Precision, RecurrenceName
from jaxmusic.errors import UserError
from jaxmusic.nn.cell import Carry, Layer, Stack, Weights, zero_carry
from jaxmusic.nn.cpu.recurrence import CPU
from jaxmusic.nn.devices import batch_devices, current_platform
from jaxmusic.nn.pallas.recurrence import PALLAS
from jaxmusic.nn.products import supported_precision
from jaxmusic.nn.recurrence import Recurrence, Workload
from jaxmusic.nn.scan import SCAN
from jaxmusic.nn.wavefront import WAVEFRONT, WAVEFRONT_BY_LAYER

# The registry. `auto` takes the first one that pays and can compute the workload.
RECURRENCES: dict[str, Recurrence[Any, Any]] = {
    recurrence.name: recurrence for recurrence in (CPU, WAVEFRONT, WAVEFRONT_BY_LAYER, SCAN, PALLAS)
}


def run_lstm(
    inputs: jax.Array,
    kernel: jax.Array,
    recurrent_kernel: jax.Array,
    bias: jax.Array,
    *,
    carry: Carry | None = None,
    masks: jax.Array | None = None,
    precision: Precision = "f32",
    recurrence: RecurrenceName = "auto",
) -> tuple[jax.Array, Carry]:
    """Run one LSTM layer over a batch of sequences.

    Args:
        inputs: (batch, time, features).
        kernel: (features, 4 * hidden), gates in the order i f c o, as Keras keeps them.
        recurrent_kernel: (hidden, 4 * hidden).
        bias: (4 * hidden,).
        carry, masks, precision, recurrence: as in `run_lstm_stack`, of this layer.

    Returns:
        h at every step, (batch, time, hidden), and the carry after the last one.
    """
    outputs, (after,) = run_lstm_stack(
        inputs,
        [Weights(kernel, recurrent_kernel, bias)],
        carries=None if carry is None else [carry],
        masks=[masks],
        precision=precision,
        recurrence=recurrence,
    )
    return outputs, after


def run_lstm_stack(
    inputs: jax.Array,
    layers: Sequence[Weights],
    *,
    carries: Sequence[Carry] | None = None,
    masks: Sequence[jax.Array | None] | None = None,
    input_masks: Sequence[jax.Array | None] | None = None,
    precision: Precision = "f32",
    recurrence: RecurrenceName = "auto",
) -> tuple[jax.Array, tuple[Carry, ...]]:
    """Run LSTM layers over a batch of sequences, each on the outputs of the one before it.

    Args:
        inputs: (batch, time, features).
        layers: the weights of at least one layer.
        carries: those before the first step, one a layer; zeros by default.
        masks: one a layer, None for a layer without, (batch, 4, hidden): recurrent dropout, which h
            is multiplied with, for each gate, before the recurrent product; the same at every step
            (Gal and Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent
            Neural Networks"). They are drawn, not learned: no gradient flows to them.
        input_masks: one a layer, None for a layer without, (batch, features): dropout of the
            layer's inputs, the same at every step. The layers are then computed one after the
            other. No gradient flows to them either.
        precision: of the matrix products.
        recurrence: how the loop over time is computed: `scan` by XLA, one layer after the other, on
            any device; `wavefront` by XLA in one loop for all layers, with fewer, larger programs a
            step, for GPUs; `cpu` by a kernel in C++, compiled when first used; `pallas` by a kernel
            for TPUs (elsewhere interpreted, which is slow). `auto` is `cpu` on CPUs that have a
            compiler and where it pays, `wavefront` on GPUs (a layer at a time where a batch has
            many rows), else `scan`.

    Returns:
        The last layer's h at every step, (batch, time, hidden), and each layer's carry after it.

    The reverse derivative is our own; forward derivatives (`jax.jvp`, `jax.hessian`) are refused by
    JAX with a TypeError. The scan and the wavefront have second derivatives; the kernels refuse
    them with a NotImplementedError.

    Raises UserError, with the reason, when the recurrence can't compute these layers here.
    """
    rows, steps, _ = inputs.shape
    hidden_sizes = tuple(len(weights.recurrent_kernel) for weights in layers)
    if carries is None:
        carries = [zero_carry(rows, hidden, inputs.dtype) for hidden in hidden_sizes]
    if masks is None:
        masks = [None] * len(layers)
    masks = [None if each is None else lax.stop_gradient(each) for each in masks]
    stack = Stack(jnp.swapaxes(inputs, 0, 1), tuple(layers), tuple(carries), tuple(masks))
    arrays = jax.tree.leaves((inputs, stack.weights, stack.before))
    workload = Workload(
        current_platform(),
        steps,
        rows // batch_devices(),
        hidden_sizes,
        float32=all(array.dtype == jnp.float32 for array in arrays),
    )
    chosen = choose_recurrence(recurrence, workload)
    precision = supported_precision(precision, workload.platform)
    if chosen.stacked and input_masks is None:
        h_TxBxH, afters = _lstm(chosen, precision, stack)
    else:
        h_TxBxH, each_after = stack.x_TxBxF, []
        for number, (weights, before, mask) in enumerate(stack.layers()):
            if input_masks is not None and (input_mask := input_masks[number]) is not None:
                h_TxBxH = h_TxBxH * lax.stop_gradient(input_mask)
            if chosen.stacked:
                alone = Stack(h_TxBxH, (weights,), (before,), (mask,))
                h_TxBxH, (after,) = _lstm(chosen, precision, alone)
            else:
                h_TxBxH, after = _lstm(chosen, precision, Layer(h_TxBxH, weights, before, mask))
            each_after.append(after)
        afters = tuple(each_after)
    return jnp.swapaxes(h_TxBxH, 0, 1), afters


def choose_recurrence(name: RecurrenceName, workload: Workload) -> Recurrence[Any, Any]:
    """The way to compute a workload: the one named, or what `auto` comes to.

    Raises UserError when the one named can't compute it.
    """
    if name == "auto":
        return next(
            recurrence
            for recurrence in RECURRENCES.values()
            if recurrence.pays(workload) and recurrence.why_not(workload) is None
        )
    recurrence = RECURRENCES[name]
    if (reason := recurrence.why_not(workload)) is not None:
        raise UserError(f"--recurrence {name}: {reason}; use auto or scan.")
    return recurrence


def why_not_fastest(workload: Workload) -> str | None:
    """Why `auto` can't take the first one that pays, in a few words; None where it takes it."""
    fastest = next(each for each in RECURRENCES.values() if each.pays(workload))
    return fastest.why_not(workload)


def can_keep(name: object, workload: Workload) -> TypeGuard[RecurrenceName]:
    """Whether a run that was computed so can go on so here.

    False for a name that is not a value of --recurrence.
    """
    if not isinstance(name, str) or name not in get_args(RecurrenceName) or name == "auto":
        return False
    return RECURRENCES[name].why_not(workload) is None


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _lstm(recurrence: Recurrence[Any, Any], precision: Precision, layers: Any) -> Any:
    """h at every step and the carries after the last one, of a Layer or of a Stack."""
    if recurrence.inference is not None:
        return recurrence.inference(precision, layers)
    h_TxBxH, after, _ = recurrence.forward(precision, layers)
    return h_TxBxH, after


def _forward_rule(recurrence: Recurrence[Any, Any], precision: Precision, layers: Any) -> Any:
    layers = jax.tree.map(lambda argument: argument.value, layers)
    h_TxBxH, after, residuals = recurrence.forward(precision, layers)
    return (h_TxBxH, after), (layers, h_TxBxH, residuals)


def _backward_rule(
    recurrence: Recurrence[Any, Any], precision: Precision, kept: Any, cotangents: Any
) -> Any:
    layers, h_TxBxH, residuals = kept
    dh_TxBxH, d_after = cotangents
    # A sequence that is not used (the last layer's, when only its last h counts) has no gradient.
    if type(dh_TxBxH) is SymbolicZero:
        dh_TxBxH = None
    d_after = jax.tree.map(
        lambda d: jnp.zeros(d.shape, d.dtype) if type(d) is SymbolicZero else d,
        d_after,
        is_leaf=lambda d: type(d) is SymbolicZero,
    )
    return (recurrence.backward(precision, layers, h_TxBxH, residuals, dh_TxBxH, d_after),)


_lstm.defvjp(_forward_rule, _backward_rule, symbolic_zeros=True)
