"""The loop over time as one Pallas kernel for TPUs, weights and state in VMEM from end to end.

XLA's scan reads the recurrent kernel from memory at every step and hands the state from one
small program to the next. Here the grid runs over time in order (and over blocks of the batch,
which know nothing of each other), and a block whose place doesn't change with time stays where
it is: the weights, the masks, and the outputs that hold the state.

Nothing of the gates is kept for the way back, where they are computed again from what went into
them: z is computed anew by one product and overwritten by its gradient, step by step.

Elsewhere than on a TPU the same kernels run in Pallas's interpreter: slow, for tests.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import PartitionSpec

from jaxmusic.errors import UserError
from jaxmusic.lstm_cell import DOT_GENERAL, Carry, Layer, Precision, Weights, dot
from jaxmusic.lstm_scan import scan_backward, scan_forward, weight_gradients

BATCH_AXIS = "batch"  # the one axis of our meshes
LANES = 128  # a register is 8 rows of 128; a gate that fills whole registers is cut for nothing
SUBLANES = 8
VMEM_BYTES = 48 * 2**20  # of the 64 MiB and more of v5e, v5p and v6e; the rest is the compiler's

# What each array of a kernel looks like: its axes, in order. t: time, b: batch, g: 4 gates of
# hidden units, h: hidden units, q: the 4 gates, o: of size one. Those without t stay in VMEM.
AXES = {
    "z": "tbg", "dz": "tbg", "h": "tbh", "c": "tbh", "dh": "tbh",
    "present": "tbo", "masks": "qbh", "recurrent_kernel": "hg",
    "h_before": "bh", "c_before": "bh", "h_after": "bh", "c_after": "bh",
    "dh_before": "bh", "dc_before": "bh", "dh_after": "bh", "dc_after": "bh",
}  # fmt: skip
FORWARD_OUTPUTS = ("h", "c", "h_after", "c_after")
BACKWARD_OUTPUTS = ("dz", "dh_before", "dc_before")


class PallasError(UserError):
    """The kernel can't run at these sizes; the message says what can."""


def forward(
    precision: Precision, layer: Layer, *, keep: bool = True
) -> tuple[jax.Array, Carry, jax.Array]:
    """As lstm_scan's, but that c at every step is all that is kept, (time, batch, hidden).

    Raises PallasError when the weights don't fit into VMEM.
    """
    del keep
    arrays = _given(
        z=dot(layer.x_TxBxF, layer.weights.kernel, precision) + layer.weights.bias,
        recurrent_kernel=layer.weights.recurrent_kernel,
        h_before=layer.before.h,
        c_before=layer.before.c,
        masks=layer.masks,
        present=layer.present_TxB,
    )
    call = _differentiated_once(_Call("forward", precision, tuple(arrays)))
    h_TxBxH, c_TxBxH, *after = call(*arrays.values())
    return h_TxBxH, Carry(*after), c_TxBxH


def backward(
    precision: Precision,
    layer: Layer,
    h_TxBxH: jax.Array,
    c_TxBxH: jax.Array,
    dh_TxBxH: jax.Array | None,
    d_after: Carry,
) -> tuple[jax.Array, Weights, Carry]:
    """As lstm_scan's.

    Raises PallasError when the weights don't fit into VMEM.
    """
    # The barrier keeps the compiler from keeping z, which it sees is computed twice.
    x_TxBxF, d_after = lax.optimization_barrier((layer.x_TxBxF, d_after))
    arrays = _given(
        z=dot(x_TxBxF, layer.weights.kernel, precision) + layer.weights.bias,
        recurrent_kernel=layer.weights.recurrent_kernel,
        h_before=layer.before.h,
        c_before=layer.before.c,
        h=h_TxBxH,
        c=c_TxBxH,
        dh=dh_TxBxH,
        dh_after=d_after.h,
        dc_after=d_after.c,
        masks=layer.masks,
        present=layer.present_TxB,
    )
    call = _differentiated_once(_Call("backward", precision, tuple(arrays)))
    dz_TxBx4H, *d_before = call(*arrays.values())
    dx_TxBxF = dot(dz_TxBx4H, layer.weights.kernel.T, precision)
    d_weights = weight_gradients(layer, h_TxBxH, dz_TxBx4H, precision)
    return dx_TxBxF, d_weights, Carry(*d_before)


def _given(**arrays: jax.Array | None) -> dict[str, jax.Array]:
    return {name: array for name, array in arrays.items() if array is not None}


class _Call(NamedTuple):
    """What is fixed when a kernel is traced; `names` are those of its arguments."""

    direction: str
    precision: Precision
    names: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return FORWARD_OUTPUTS if self.direction == "forward" else BACKWARD_OUTPUTS


@cache
def _differentiated_once(call: _Call) -> Callable[..., Any]:
    """The kernel as a function of arrays, with no derivative of its own."""

    @jax.custom_jvp
    def once(*arrays: jax.Array) -> Any:
        return _vectorized(call)(*arrays)

    @once.defjvp
    def twice(primals: Any, tangents: Any) -> Any:
        raise NotImplementedError(
            "The Pallas kernel of --recurrence pallas has no second derivative: "
            "use --recurrence scan."
        )

    return once


def _vectorized(call: _Call) -> Callable[..., Any]:
    """Under `vmap` the scan takes over: a kernel with one more axis is not worth its code."""
    kernel = jax.custom_batching.custom_vmap(partial(_over_devices, call))

    @kernel.def_vmap
    def scan(axis_size: int, batched: Sequence[bool], *arrays: jax.Array) -> Any:
        axes = [0 if is_batched else None for is_batched in batched]
        outputs = jax.vmap(partial(_scan, call), axes, axis_size=axis_size)(*arrays)
        return outputs, tuple(True for _ in outputs)

    function: Callable[..., Any] = kernel
    return function


def _scan(call: _Call, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """What the kernel computes, by the scan."""
    given = dict(zip(call.names, arrays, strict=True))
    recurrent_kernel = given["recurrent_kernel"]
    before = Carry(given["h_before"], given["c_before"])
    optional = given.get("masks"), given.get("present")
    h, after, kept = scan_forward(given["z"], recurrent_kernel, before, *optional, call.precision)
    if call.direction == "forward":
        return h, kept.c_TxBxH, *after
    d_after = Carry(given["dh_after"], given["dc_after"])
    dz, d_before = scan_backward(
        recurrent_kernel, before, *optional, kept, given.get("dh"), d_after, call.precision
    )
    return (dz, *d_before)


def _over_devices(call: _Call, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Each device of the mesh that `jax.set_mesh` has set runs the kernel on its own rows.

    The compiler can't look into a kernel to divide it. (`custom_partitioning` would need no
    mesh, but compilers for TPUs don't know it: github.com/jax-ml/jax/issues/38196.)
    """
    if BATCH_AXIS not in jax.sharding.get_abstract_mesh().auto_axes:
        return _run(call, *arrays)
    public = {"masks": "bqh", "present": "tb"}  # as `run_lstm` has them, before `_run` lays out

    def specs(names: Sequence[str]) -> tuple[PartitionSpec, ...]:
        return tuple(
            PartitionSpec(*(BATCH_AXIS if axis == "b" else None for axis in {**AXES, **public}[n]))
            for n in names
        )

    mapped: Callable[..., tuple[jax.Array, ...]] = jax.shard_map(
        partial(_run, call),
        in_specs=specs(call.names),
        out_specs=specs(call.outputs),
        check_vma=False,  # which Pallas's interpreter doesn't pass
    )
    return mapped(*arrays)


def _run(call: _Call, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Lay the arrays out as the kernel wants them, run it, and cut the filling off."""
    given = dict(zip(call.names, arrays, strict=True))
    time, batch, hidden = given["z"].shape
    hidden //= 4
    wide = -(-hidden // LANES) * LANES
    rows = _rows_a_block(call, batch, wide)
    high = -(-batch // rows) * rows
    if "masks" in given:
        given["masks"] = given["masks"].swapaxes(0, 1)
    if "present" in given:
        given["present"] = given["present"][:, :, None].astype(jnp.float32)
    if call.precision == "bf16":
        given["recurrent_kernel"] = given["recurrent_kernel"].astype(jnp.bfloat16)

    # Filling changes nothing: its units have no weights and its state stays 0.
    def pad(name: str, array: jax.Array) -> jax.Array:
        if "g" in AXES[name]:
            gates = array.reshape(*array.shape[:-1], 4, hidden)
            gates = jnp.pad(gates, [(0, 0)] * (gates.ndim - 1) + [(0, wide - hidden)])
            array = gates.reshape(*array.shape[:-1], 4 * wide)
        more = {"b": high - batch, "h": wide - hidden}
        return jnp.pad(array, [(0, more.get(axis, 0)) for axis in AXES[name]])

    def cut(name: str, array: jax.Array) -> jax.Array:
        if "g" in AXES[name]:
            gates = array.reshape(*array.shape[:-1], 4, wide)[..., :hidden]
            array = gates.reshape(*array.shape[:-1], 4 * hidden)
        size = {"b": batch, "h": hidden}
        return array[tuple(slice(size.get(axis)) for axis in AXES[name])]

    if (high, wide) != (batch, hidden):
        given = {name: pad(name, array) for name, array in given.items()}
    kernel = partial(_call_kernel, call, (time, high, wide), rows)
    # Chosen when it is lowered: a program may be compiled for TPUs where there are none.
    outputs = lax.platform_dependent(
        given, tpu=partial(kernel, interpret=False), default=partial(kernel, interpret=True)
    )
    if (high, wide) != (batch, hidden):
        outputs = [cut(*of) for of in zip(call.outputs, outputs, strict=True)]
    return tuple(outputs)


def _block_bytes(call: _Call, rows: int, wide: int) -> int:
    """VMEM that blocks of so many rows of the batch take: those that move with time twice."""
    size = {"t": 1, "b": rows, "g": 4 * wide, "h": wide, "q": 4, "o": LANES}
    total = 0
    for name in (*call.names, *call.outputs):
        block = 2 if name == "recurrent_kernel" and call.precision == "bf16" else 4
        for axis in AXES[name]:
            block *= size[axis]
        total += block * (2 if "t" in AXES[name] or name in call.outputs else 1)
    return total + 6 * 4 * rows * 4 * wide  # and what lies between the products


def _rows_a_block(call: _Call, batch: int, wide: int) -> int:
    """The most rows that fit, the batch cut into equal blocks of whole registers."""
    blocks = 1
    while True:
        rows = -(-batch // (blocks * SUBLANES)) * SUBLANES
        if _block_bytes(call, rows, wide) <= VMEM_BYTES:
            return rows
        if rows == SUBLANES:
            raise PallasError(
                f"--recurrence pallas: the recurrent weights of {wide} units in {call.precision} "
                "don't fit into a TPU's VMEM; use --recurrence scan."
            )
        blocks *= 2


def _call_kernel(
    call: _Call,
    sizes: tuple[int, int, int],
    rows: int,
    given: dict[str, jax.Array],
    *,
    interpret: bool,
) -> list[jax.Array]:
    time, batch, wide = sizes
    forward = call.direction == "forward"
    whole = {"t": time, "b": batch, "g": 4 * wide, "h": wide, "q": 4, "o": 1}
    dtype = given["c_before"].dtype

    def spec(name: str) -> pl.BlockSpec:
        def place(block: Any, step: Any) -> tuple[Any, ...]:
            at = step if forward else time - 1 - step
            if not forward and name in ("h", "c"):  # of the step before; the first has its own
                at = jnp.maximum(at - 1, 0)
            where = {"t": at, "b": block}
            return tuple(where.get(axis, 0) for axis in AXES[name])

        shape = tuple({**whole, "t": None, "b": rows}[axis] for axis in AXES[name])
        stays = "t" not in AXES[name] and name not in call.outputs
        return pl.BlockSpec(shape, place, pipeline_mode=pl.Buffered(1) if stays else None)

    names = (*given, *call.outputs)
    body = _forward_step if forward else _backward_step

    def kernel(*refs: Any) -> None:
        body(dict(zip(names[: len(given)], refs, strict=False)), refs[len(given) :], call.precision)

    outputs: list[jax.Array] = pl.pallas_call(
        kernel,
        grid=(batch // rows, time),
        in_specs=[spec(name) for name in given],
        out_specs=[spec(name) for name in call.outputs],
        out_shape=[
            jax.ShapeDtypeStruct(tuple(whole[axis] for axis in AXES[name]), dtype)
            for name in call.outputs
        ],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"),
            vmem_limit_bytes=VMEM_BYTES + 8 * 2**20,
        ),
        # Of z and dz only one is alive at a step: they share their memory.
        input_output_aliases={} if forward else {names.index("z"): 0},
        interpret=interpret,
        name=f"lstm_{call.direction}",
    )(*given.values())
    return outputs


def _gates(
    given: dict[str, Any], h: jax.Array, precision: Precision
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    z = []
    for gate, cut in enumerate(_cuts(h.shape[1])):
        masked = h * given["masks"][gate] if "masks" in given else h
        weights = given["recurrent_kernel"][:, cut]
        product = DOT_GENERAL[precision](masked, weights, (((1,), (0,)), ((), ())))
        z.append(given["z"][:, cut] + product)
    return jax.nn.sigmoid(z[0]), jax.nn.sigmoid(z[1]), jnp.tanh(z[2]), jax.nn.sigmoid(z[3])


def _cuts(width: int) -> list[slice]:
    return [slice(gate * width, (gate + 1) * width) for gate in range(4)]


def _forward_step(given: dict[str, Any], outputs: Sequence[Any], precision: Precision) -> None:
    h_ref, c_ref, h_now, c_now = outputs  # the last two are the state

    @pl.when(pl.program_id(1) == 0)
    def begin() -> None:
        h_now[...] = given["h_before"][...]
        c_now[...] = given["c_before"][...]

    h, c = h_now[...], c_now[...]
    i, f, g, o = _gates(given, h, precision)
    c_next = f * c + i * g
    h_next = o * jnp.tanh(c_next)
    if "present" in given:
        present = given["present"][...] > 0
        c_next, h_next = jnp.where(present, c_next, c), jnp.where(present, h_next, h)
    h_ref[...] = h_now[...] = h_next
    c_ref[...] = c_now[...] = c_next


def _backward_step(given: dict[str, Any], outputs: Sequence[Any], precision: Precision) -> None:
    dz_ref, dh_now, dc_now = outputs  # the last two are the state

    @pl.when(pl.program_id(1) == 0)
    def begin() -> None:
        dh_now[...] = given["dh_after"][...]
        dc_now[...] = given["dc_after"][...]

    dh, dc_after = dh_now[...], dc_now[...]
    if "dh" in given:
        dh = dh + given["dh"][...]
    first = pl.program_id(1) == pl.num_programs(1) - 1
    h_previous = jnp.where(first, given["h_before"][...], given["h"][...])
    c_previous = jnp.where(first, given["c_before"][...], given["c"][...])
    i, f, g, o = _gates(given, h_previous, precision)
    tanh_c = jnp.tanh(f * c_previous + i * g)
    dc = dc_after + dh * o * (1 - tanh_c * tanh_c)
    dz = [
        dc * g * i * (1 - i),
        dc * c_previous * f * (1 - f),
        dc * i * (1 - g * g),
        dh * tanh_c * o * (1 - o),
    ]
    if "present" in given:
        present = given["present"][...] > 0
        dz = [jnp.where(present, part, 0) for part in dz]
    dh_before = jnp.zeros_like(dh)
    for gate, cut in enumerate(_cuts(dh.shape[1])):
        dz_ref[:, cut] = dz[gate]
        weights = given["recurrent_kernel"][:, cut]
        product = DOT_GENERAL[precision](dz[gate], weights, (((1,), (1,)), ((), ())))
        dh_before += given["masks"][gate] * product if "masks" in given else product
    dc_before = dc * f
    if "present" in given:
        dh_before = jnp.where(present, dh_before, dh)
        dc_before = jnp.where(present, dc_before, dc_after)
    dh_now[...] = dh_before
    dc_now[...] = dc_before
