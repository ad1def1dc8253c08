"""A stack of recurrent layers as one loop over time, the layers a step behind each other.

Layer l can do its step t as soon as layer l - 1 has done that step: at step s of the wave, layer
l does its own step t = s - l. So T steps of L layers take S = T + L - 1 steps of a loop, not L T,
and each is one product for all layers at once. It pays where a step of one layer is too little
work to fill the device, so that most of its time passes between programs: on GPUs, at small
batches (Appleyard et al. 2016, "Optimizing Performance of Recurrent Neural Networks on GPUs").

At the start the upper layers have nothing to do yet, at the end the lower ones nothing more:
there a layer's carry stays as it is.

A step of the wave computes a row of one array: the four gates, c and h of all layers,
(6, L, B, H), or the gradients of the gates: XLA then writes a row by one program, not three.

In names of arrays, further: Q groups in which the gates are computed, of N columns each: 4 of one
gate where each gate has its own mask, else one of all 4.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmusic.config import Precision
from jaxmusic.nn.cell import (
    Carry,
    Gates,
    Layer,
    Stack,
    activate,
    cell_gradient,
    next_c,
    next_carry,
    weight_gradients,
)
from jaxmusic.nn.devices import loop_unroll, over_devices
from jaxmusic.nn.products import DOT_GENERAL, dot
from jaxmusic.nn.recurrence import Recurrence, Workload

C, H = 4, 5  # indices in a row, after the gates
# From so many rows on, one layer keeps a GPU busy: estimated, not measured (docs/performance.md).
MANY_ROWS = 512


def forward(precision: Precision, stack: Stack) -> tuple[jax.Array, tuple[Carry, ...], jax.Array]:
    """The last layer's h at every step, each layer's carry after the last, and the rows.

    The rows are (S + 1, 6, L, B, H); the one before the first step has no gates.
    """
    layers, first = len(stack.weights), stack.weights[0]
    steps = len(stack.x_TxBxF) + layers - 1
    # What depends on the inputs alone is one product before the loop. (With the steps filled in,
    # the first layer does nothing.)
    x_SxBxF = jnp.pad(stack.x_TxBxF, ((0, layers - 1), (0, 0), (0, 0)))
    z_SxBx4H = dot(x_SxBxF, first.kernel, precision)
    bias_Lx4H = jnp.stack([weights.bias for weights in stack.weights])
    hidden = bias_Lx4H.shape[1] // 4

    def loop(
        before: Carry,
        z_SxBx4H: jax.Array,
        working_SxLx1x1: jax.Array,
        masks_QxLxBxH: jax.Array | None,
        matrix_QxLx2HxN: jax.Array,
        bias_Lx4H: jax.Array,
    ) -> Any:
        def step(s: jax.Array, state: tuple[Carry, jax.Array]) -> tuple[Carry, jax.Array]:
            before, rows = state
            z_QxLxBxN = _product(_operand(before.h, masks_QxLxBxH), matrix_QxLx2HxN, precision)
            z = []
            for gate, z_LxBxH in enumerate(_gates(z_QxLxBxN)):
                part = slice(gate * hidden, (gate + 1) * hidden)
                from_x = _only(0, z_SxBx4H[s, :, part], layers)
                z.append(z_LxBxH + bias_Lx4H[:, None, part] + from_x)
            gates = activate(z)
            h, c = next_carry(gates, before.c)
            working = working_SxLx1x1[s]
            after = Carry(jnp.where(working, h, before.h), jnp.where(working, c, before.c))
            return after, _written(rows, s + 1, jnp.stack([*gates, after.c, after.h]))

        no_gates = [jnp.zeros_like(before.h)] * 4
        rows = _rows(steps + 1, 6, before)
        rows = _written(rows, 0, jnp.stack([*no_gates, before.c, before.h]))
        return lax.fori_loop(0, steps, step, (before, rows), unroll=loop_unroll())

    after, rows = _over_devices(
        loop,
        (_stacked(stack.before), "LBH"),
        (z_SxBx4H, "SBN"),
        (_working(layers, len(stack.x_TxBxF)), "SL11"),
        (_masks(stack), "QLBH"),
        (_matrices(stack, precision), "QLHN"),
        (bias_Lx4H, "LN"),
        results=("LBH", "SPLBH"),
    )
    return rows[layers:, H, -1], _layer_by_layer(after), rows


def backward(
    precision: Precision,
    stack: Stack,
    h_TxBxH: jax.Array,
    rows: jax.Array,
    dh_TxBxH: jax.Array | None,
    d_after: tuple[Carry, ...],
) -> Stack:
    """The gradients of the stack; h, and its gradient `dh`, are the last layer's."""
    del h_TxBxH  # the rows have it
    layers, time = len(stack.weights), len(stack.x_TxBxF)
    steps = time + layers - 1

    def loop(
        d_after: Carry,
        rows: jax.Array,
        dh_TxBxH: jax.Array | None,
        working_SxLx1x1: jax.Array,
        masks_QxLxBxH: jax.Array | None,
        matrix_QxLx2HxN: jax.Array,
    ) -> Any:
        def through_product(dz_4xLxBxH: jax.Array) -> jax.Array:
            """The gradient of h before a step, as far as it comes through the product."""
            dz_QxLxBxN = _grouped(dz_4xLxBxH, len(matrix_QxLx2HxN))
            through_QxLxBx2H = _product_back(dz_QxLxBxN, matrix_QxLx2HxN, precision)
            own, *below = jnp.split(through_QxLxBx2H, min(layers, 2), axis=-1)
            if masks_QxLxBxH is not None:
                own = own * masks_QxLxBxH
            dh_LxBxH = _sum_of_groups(own)
            if below:
                # What a layer took from the one below is that one's h before this step of the wave.
                lower = _sum_of_groups(below[0])
                dh_LxBxH += jnp.concatenate([lower[1:], jnp.zeros_like(lower[:1])])
            return dh_LxBxH

        def step(back: jax.Array, state: tuple[Carry, jax.Array]) -> tuple[Carry, jax.Array]:
            d, d_rows = state
            s = steps - 1 - back
            if dh_TxBxH is not None:  # the last layer's step is none of the first few of the wave
                dh_BxH = dh_TxBxH[jnp.maximum(s - layers + 1, 0)]
                dh_BxH = jnp.where(s >= layers - 1, dh_BxH, 0)
                d = Carry(d.h + _only(-1, dh_BxH, layers), d.c)
            gates = Gates(*(rows[s + 1, gate] for gate in range(4)))
            c_before = rows[s, C]
            # To compute c again costs less than to read it.
            dz, dc_before = cell_gradient(gates, c_before, next_c(gates, c_before), d)
            working = working_SxLx1x1[s]
            dz_4xLxBxH = jnp.stack(dz)
            dz_4xLxBxH = jnp.where(working, dz_4xLxBxH, 0)
            dh = jnp.where(working, 0, d.h) + through_product(dz_4xLxBxH)
            d_before = Carry(dh, jnp.where(working, dc_before, d.c))
            return d_before, _written(d_rows, s, dz_4xLxBxH)

        d_rows = _rows(steps, 4, d_after)
        return lax.fori_loop(0, steps, step, (d_after, d_rows), unroll=loop_unroll())

    d_before, dz_Sx4xLxBxH = _over_devices(
        loop,
        (_stacked(d_after), "LBH"),
        (rows, "SPLBH"),
        (dh_TxBxH, "TBH"),
        (_working(layers, time), "SL11"),
        (_masks(stack), "QLBH"),
        (_matrices(stack, precision), "QLHN"),
        results=("LBH", "SPLBH"),
    )
    d_weights = []
    for number in range(layers):
        steps_of_layer = slice(number, number + time)
        h_before_TxBxH = rows[steps_of_layer, H]
        x = stack.x_TxBxF if number == 0 else h_before_TxBxH[:, number - 1]
        dz_TxBx4H = jnp.concatenate(
            [dz_Sx4xLxBxH[steps_of_layer, gate, number] for gate in range(4)], axis=-1
        )
        if number == 0:
            dx_TxBxF = dot(dz_TxBx4H, stack.weights[0].kernel.T, precision)
        previous, masks = h_before_TxBxH[:, number], stack.masks[number]
        d_weights.append(weight_gradients(x, previous, masks, dz_TxBx4H, precision))
    return Stack(dx_TxBxF, tuple(d_weights), _layer_by_layer(d_before), (None,) * layers)


def forward_layer(precision: Precision, layer: Layer) -> tuple[jax.Array, Carry, jax.Array]:
    """The forward pass of one layer, as a stack of one."""
    h_TxBxH, (after,), rows = forward(precision, _stack_of_one(layer))
    return h_TxBxH, after, rows


def backward_layer(
    precision: Precision,
    layer: Layer,
    h_TxBxH: jax.Array,
    rows: jax.Array,
    dh_TxBxH: jax.Array | None,
    d_after: Carry,
) -> Layer:
    """The gradients of one layer, as a stack of one."""
    d = backward(precision, _stack_of_one(layer), h_TxBxH, rows, dh_TxBxH, (d_after,))
    return Layer(d.x_TxBxF, d.weights[0], d.before[0], None)


def _stack_of_one(layer: Layer) -> Stack:
    return Stack(layer.x_TxBxF, (layer.weights,), (layer.before,), (layer.masks,))


def _over_devices(
    loop: Callable[..., Any], *arguments: tuple[Any, str], results: tuple[str, ...]
) -> Any:
    """Run a loop on each device of the mesh that `jax.set_mesh` has set, for its own rows B.

    Each array is given with its axes, a letter each. The compiler would divide the loop as well,
    but not the empty arrays in it: each device would have all of them.
    """
    arrays, axes = zip(*arguments, strict=True)
    return over_devices(loop, axes, results, divided="B")(*arrays)


def _working(layers: int, time: int) -> jax.Array:
    """Whether a layer does anything at a step of the wave, (S, L, 1, 1) bool."""
    # In JAX: XLA computes other bits for one layer if it is given the constant of NumPy.
    step = jnp.arange(time + layers - 1)[:, None, None, None]
    layer = jnp.arange(layers)[:, None, None]
    return (layer <= step) & (step < layer + time)


def _stacked(carries: tuple[Carry, ...]) -> Carry:
    """All layers' carries as one, (L, B, H)."""
    return Carry(*(jnp.stack(arrays) for arrays in zip(*carries, strict=True)))


def _layer_by_layer(carry: Carry) -> tuple[Carry, ...]:
    return tuple(Carry(*arrays) for arrays in zip(*carry, strict=True))


def _rows(number: int, parts: int, carry: Carry) -> jax.Array:
    """Rows to write, with nothing in them: zeros would be written, and copied once more."""
    rows: jax.Array = lax.empty((number, parts, *carry.h.shape), carry.h.dtype)
    return rows


def _written(rows: jax.Array, index: jax.Array | int, row: jax.Array) -> jax.Array:
    written: jax.Array = lax.dynamic_update_index_in_dim(rows, row, index, 0)
    return written


def _masks(stack: Stack) -> jax.Array | None:
    """Of all layers, (4, L, B, H), ones for layers without; None where no layer has any."""
    if all(masks is None for masks in stack.masks):
        return None
    batch, hidden = stack.before[0].h.shape
    ones = jnp.ones((batch, 4, hidden), stack.before[0].h.dtype)
    masks_LxBx4xH = jnp.stack([ones if masks is None else masks for masks in stack.masks])
    return masks_LxBx4xH.transpose(2, 0, 1, 3)


def _matrices(stack: Stack, precision: Precision) -> jax.Array:
    """What a layer's own h and the h of the layer below it are multiplied with, (Q, L, 2H, N).

    The first layer has none below it: zeros. (Q, 1, H, N) for a layer alone.
    """
    matrix_LxHx4H = jnp.stack([weights.recurrent_kernel for weights in stack.weights])
    if len(stack.weights) > 1:
        nothing = jnp.zeros_like(matrix_LxHx4H[0])
        for_below = jnp.stack([nothing, *(weights.kernel for weights in stack.weights[1:])])
        matrix_LxHx4H = jnp.concatenate([matrix_LxHx4H, for_below], axis=1)
    if precision == "bf16":  # here, not at every step
        matrix_LxHx4H = matrix_LxHx4H.astype(jnp.bfloat16)
    groups = 1 if all(masks is None for masks in stack.masks) else 4
    return jnp.stack(jnp.split(matrix_LxHx4H, groups, axis=-1))


def _operand(h_LxBxH: jax.Array, masks_QxLxBxH: jax.Array | None) -> jax.Array:
    """Each layer's own h, masked for each gate, and that of the layer below it, (Q, L, B, 2H).

    (Q, 1, B, H) for a layer alone.
    """
    own = h_LxBxH[None] if masks_QxLxBxH is None else h_LxBxH * masks_QxLxBxH
    if len(h_LxBxH) == 1:
        return own
    below = jnp.concatenate([jnp.zeros_like(h_LxBxH[:1]), h_LxBxH[:-1]])
    return jnp.concatenate([own, jnp.broadcast_to(below, own.shape)], axis=-1)


def _product(
    operand_QxLxBx2H: jax.Array, matrix_QxLx2HxN: jax.Array, precision: Precision
) -> jax.Array:
    numbers = (((3,), (2,)), ((0, 1), (0, 1)))
    return DOT_GENERAL[precision](operand_QxLxBx2H, matrix_QxLx2HxN, numbers)


def _product_back(
    dz_QxLxBxN: jax.Array, matrix_QxLx2HxN: jax.Array, precision: Precision
) -> jax.Array:
    """Its transpose: the gradient of the operand, (Q, L, B, 2H)."""
    numbers = (((3,), (3,)), ((0, 1), (0, 1)))
    return DOT_GENERAL[precision](dz_QxLxBxN, matrix_QxLx2HxN, numbers)


def _gates(z_QxLxBxN: jax.Array) -> list[jax.Array]:
    """The four gates, (L, B, H) each."""
    groups = list(z_QxLxBxN)
    return groups if len(groups) == 4 else jnp.split(groups[0], 4, axis=-1)


def _grouped(z_4xLxBxH: jax.Array, groups: int) -> jax.Array:
    """The opposite of `_gates`: (Q, L, B, N)."""
    return z_4xLxBxH if groups == 4 else jnp.concatenate(list(z_4xLxBxH), axis=-1)[None]


def _sum_of_groups(array_QxLxBxH: jax.Array) -> jax.Array:
    total: jax.Array = array_QxLxBxH[0]
    for each in array_QxLxBxH[1:]:  # one by one: a reduction would be a program of its own
        total += each
    return total


def _only(layer: int, array_BxH: jax.Array, layers: int) -> jax.Array:
    """(L, B, H): the array for one layer, and zeros for the others."""
    zeros = jnp.zeros_like(array_BxH)
    return jnp.stack([array_BxH if each == layer % layers else zeros for each in range(layers)])


def _why_not(work: Workload) -> str | None:
    if len(set(work.hidden_sizes)) > 1:
        return "layers computed in one loop must have the same number of hidden units"
    return None


def _pays(work: Workload) -> bool:
    one_layer = len(work.hidden_sizes) == 1
    return work.platform == "gpu" and (one_layer or work.rows < MANY_ROWS)


WAVEFRONT = Recurrence(
    name="wavefront",
    why_not=_why_not,
    pays=_pays,
    forward=forward,
    backward=backward,
    sources=("nn/wavefront.py",),
    stacked=True,
)
# For `auto` alone. A layer as a wavefront still has fewer programs a step than as a scan.
WAVEFRONT_BY_LAYER = Recurrence(
    name="wavefront, a layer at a time",
    why_not=lambda work: None,
    pays=lambda work: work.platform == "gpu",
    forward=forward_layer,
    backward=backward_layer,
    sources=WAVEFRONT.sources,
)
