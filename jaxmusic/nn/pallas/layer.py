"""A layer as a Pallas kernel for TPUs: weights and state stay in VMEM for all steps.

XLA's scan reads the recurrent kernel from memory at every step, passes the state from one small
program to the next, and reads the product of inputs and kernel from memory too. Here one kernel
does a whole step, and the gates never go to memory: the backward pass computes them again, and the
gradients of the weights are summed in VMEM, step by step.

On other devices the same kernels run in Pallas's interpreter: slow, for tests.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmusic.config import Precision
from jaxmusic.nn import scan
from jaxmusic.nn.cell import Carry, Layer, Weights
from jaxmusic.nn.devices import over_devices
from jaxmusic.nn.pallas.kernel import (
    AXES,
    LANES,
    PRODUCTS,
    Call,
    Sizes,
    call_kernel,
    filled,
    rows_a_block,
)
from jaxmusic.nn.recurrence import differentiated_once

# Axes of what the functions outside of `_run` have otherwise than the kernel; `_run` lays it out.
PUBLIC_AXES = {**AXES, "masks": "bqh", "bias": "g", "d_bias": "ng"}


def forward(precision: Precision, layer: Layer) -> tuple[jax.Array, Carry, jax.Array]:
    """h at every step, the carry after the last one, and c at every step, (time, batch, hidden).

    Raises PallasError when the weights don't fit into VMEM.
    """
    arrays = _given(layer)
    call = _kernel(Call("forward", precision, tuple(arrays)))
    h_TxBxH, c_TxBxH, *after = call(*arrays.values())
    return h_TxBxH, Carry(*after), c_TxBxH


def backward(
    precision: Precision,
    layer: Layer,
    h_TxBxH: jax.Array,
    c_TxBxH: jax.Array,
    dh_TxBxH: jax.Array | None,
    d_after: Carry,
) -> Layer:
    """The gradients of x, the weights and the carry before the first step.

    Raises PallasError when the weights don't fit into VMEM.
    """
    arrays = _given(
        layer, h=h_TxBxH, c=c_TxBxH, dh=dh_TxBxH, dh_after=d_after.h, dc_after=d_after.c
    )
    call = _kernel(Call("backward", precision, tuple(arrays)))
    dx_TxBxF, *of_blocks, dh_before, dc_before = call(*arrays.values())
    # Over devices these sums are all-reduces, which the compiler joins with those of other layers.
    d_weights = Weights(*(blocks.sum(0) for blocks in of_blocks))
    return Layer(dx_TxBxF, d_weights, Carry(dh_before, dc_before), None)


def _given(layer: Layer, **more: jax.Array | None) -> dict[str, jax.Array]:
    arrays = {
        "x": layer.x_TxBxF,
        **layer.weights._asdict(),
        "h_before": layer.before.h,
        "c_before": layer.before.c,
        "masks": layer.masks,
        **more,
    }
    return {name: array for name, array in arrays.items() if array is not None}


@cache
def _kernel(call: Call) -> Callable[..., Any]:
    return differentiated_once(_vectorized(call), "The Pallas kernel of the LSTM")


def _vectorized(call: Call) -> Callable[..., Any]:
    """Under `vmap` the scan takes over: a kernel with one more axis is not worth its code."""
    kernel = jax.custom_batching.custom_vmap(partial(_over_devices, call))

    @kernel.def_vmap
    def by_scan(axis_size: int, batched: Sequence[bool], *arrays: jax.Array) -> Any:
        axes = [0 if is_batched else None for is_batched in batched]
        outputs = jax.vmap(partial(_scan, call), axes, axis_size=axis_size)(*arrays)
        return outputs, tuple(True for _ in outputs)

    function: Callable[..., Any] = kernel
    return function


def _scan(call: Call, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """What the kernel computes, by the scan."""
    given = dict(zip(call.names, arrays, strict=True))
    layer = Layer(
        given["x"],
        Weights(*(given[name] for name in Weights._fields)),
        Carry(given["h_before"], given["c_before"]),
        given.get("masks"),
    )
    h, after, residuals = scan.forward(call.precision, layer)
    if call.direction == "forward":
        return h, residuals.c_TxBxH, *after
    d_after = Carry(given["dh_after"], given["dc_after"])
    d = scan.backward(call.precision, layer, h, residuals, given.get("dh"), d_after)
    return d.x_TxBxF, *(gradient[None] for gradient in d.weights), *d.before


def _over_devices(call: Call, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Each device of the mesh that `jax.set_mesh` has set runs the kernel on its own rows.

    The compiler can't look into a kernel to divide it. (`custom_partitioning` would need no
    mesh, but compilers for TPUs don't know it: github.com/jax-ml/jax/issues/38196.)
    """
    given, made = ([PUBLIC_AXES[name] for name in names] for names in (call.names, call.outputs))
    results: tuple[jax.Array, ...] = over_devices(partial(_run, call), given, made, divided="bn")(
        *arrays
    )
    return results


def _run(call: Call, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Lay the arrays out as the kernel wants them, run it, and cut the filling off."""
    given = dict(zip(call.names, arrays, strict=True))
    time, batch, features = given["x"].shape
    hidden = given["recurrent_kernel"].shape[0]
    wide, deep = filled(hidden, LANES), filled(features, LANES)
    rows = rows_a_block(call, batch, deep, wide)
    high = filled(batch, rows)
    given["bias"] = given["bias"][None]
    if "masks" in given:
        given["masks"] = given["masks"].swapaxes(0, 1)
    if call.precision == "bf16":
        given |= {name: given[name].astype(jnp.bfloat16) for name in PRODUCTS}

    # Filling changes nothing: its features and units have no weights and its state stays 0.
    def pad(name: str, array: jax.Array) -> jax.Array:
        if "g" in AXES[name]:
            gates = array.reshape(*array.shape[:-1], 4, hidden)
            gates = jnp.pad(gates, [(0, 0)] * (gates.ndim - 1) + [(0, wide - hidden)])
            array = gates.reshape(*array.shape[:-1], 4 * wide)
        more = {"b": high - batch, "f": deep - features, "h": wide - hidden}
        return jnp.pad(array, [(0, more.get(axis, 0)) for axis in AXES[name]])

    def cut(name: str, array: jax.Array) -> jax.Array:
        if "g" in AXES[name]:
            gates = array.reshape(*array.shape[:-1], 4, wide)[..., :hidden]
            array = gates.reshape(*array.shape[:-1], 4 * hidden)
        size = {"b": batch, "f": features, "h": hidden}
        return array[tuple(slice(size.get(axis)) for axis in AXES[name])]

    sizes = Sizes(time, high, deep, wide)
    whole = sizes == (time, batch, features, hidden)
    if not whole:
        given = {name: pad(name, array) for name, array in given.items()}
    kernel = partial(call_kernel, call, sizes, rows)
    # Chosen when it is lowered: a program may be compiled for TPUs where there are none.
    results = lax.platform_dependent(
        given, tpu=partial(kernel, interpret=False), default=partial(kernel, interpret=True)
    )
    outputs = dict(zip(call.outputs, results, strict=True))
    if not whole:
        outputs = {name: cut(name, array) for name, array in outputs.items()}
    if "d_bias" in outputs:
        outputs["d_bias"] = outputs["d_bias"][:, 0]
    return tuple(outputs.values())
