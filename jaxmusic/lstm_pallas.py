"""The loop over time as one Pallas kernel for TPUs, weights and state in VMEM from end to end.

XLA's scan reads the recurrent kernel from memory at every step and hands the state from one
small program to the next. Here the grid runs over time in order (and over blocks of the batch,
which know nothing of each other), and a block whose place doesn't change with time stays where
it is: the weights, the masks, and the outputs that hold the state.

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
from jaxmusic.lstm import DOT_GENERAL, Carry, Kept, Precision, scan_backward, scan_forward

BATCH_AXIS = "batch"  # the one axis of our meshes
LANES = 128  # a register is 8 rows of 128; a gate that fills whole registers is cut for nothing
SUBLANES = 8
VMEM_BYTES = 48 * 2**20  # of the 64 MiB and more of v5e, v5p and v6e; the rest is the compiler's

# What each array of a kernel looks like: its axes, in order. t: time, b: batch, g: 4 gates of
# hidden units, h: hidden units, q: the 4 gates, o: of size one. Those without t stay in VMEM.
AXES = {
    "z": "tbg", "gates": "tbg", "dz": "tbg",
    "h": "tbh", "c": "tbh", "c_previous": "tbh", "dh": "tbh",
    "present": "tbo", "masks": "qbh", "recurrent_kernel": "hg",
    "h_before": "bh", "c_before": "bh", "h_after": "bh", "c_after": "bh",
}  # fmt: skip
FORWARD_OUTPUTS = ("h", "gates", "c", "h_after", "c_after")
BACKWARD_OUTPUTS = ("dz", "h_before", "c_before")


class PallasError(UserError):
    """The kernel can't run at these sizes; the message says what can."""


def pallas_forward(
    z_TxBx4H: jax.Array,
    recurrent_kernel: jax.Array,
    before: Carry,
    masks: jax.Array | None,
    present_TxB: jax.Array | None,
    precision: Precision,
) -> tuple[jax.Array, Carry, Kept]:
    """As `scan_forward`. Raises PallasError when the weights don't fit into VMEM."""
    arrays = _given(
        z=z_TxBx4H,
        recurrent_kernel=recurrent_kernel,
        h_before=before.h,
        c_before=before.c,
        masks=masks,
        present=present_TxB,
    )
    call = _differentiated_once(_Call("forward", precision, tuple(arrays)))
    h_TxBxH, gates_TxBx4H, c_TxBxH, *after = call(*arrays.values())
    return h_TxBxH, Carry(*after), Kept(gates_TxBx4H, c_TxBxH)


def pallas_backward(
    recurrent_kernel: jax.Array,
    before: Carry,
    masks: jax.Array | None,
    present_TxB: jax.Array | None,
    kept: Kept,
    dh_TxBxH: jax.Array | None,
    d_after: Carry,
    precision: Precision,
) -> tuple[jax.Array, Carry]:
    """As `scan_backward`. Raises PallasError when the weights don't fit into VMEM."""
    arrays = _given(
        recurrent_kernel=recurrent_kernel,
        c_before=before.c,
        gates=kept.gates_TxBx4H,
        c=kept.c_TxBxH,
        h_after=d_after.h,
        c_after=d_after.c,
        dh=dh_TxBxH,
        masks=masks,
        present=present_TxB,
    )
    call = _differentiated_once(_Call("backward", precision, tuple(arrays)))
    dz_TxBx4H, *d_before = call(*arrays.values())
    return dz_TxBx4H, Carry(*d_before)


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
    optional = given.get("masks"), given.get("present")
    if call.direction == "forward":
        before = Carry(given["h_before"], given["c_before"])
        h, after, kept = scan_forward(
            given["z"], given["recurrent_kernel"], before, *optional, call.precision
        )
        return (h, *kept, *after)
    dz, d_before = scan_backward(
        given["recurrent_kernel"],
        Carry(given["c_before"], given["c_before"]),  # of h it needs nothing
        *optional,
        Kept(given["gates"], given["c"]),
        given.get("dh"),
        Carry(given["h_after"], given["c_after"]),
        call.precision,
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
    time, batch, hidden = given["z" if call.direction == "forward" else "gates"].shape
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
    names = call.names if call.direction == "forward" else (*call.names, "c_previous")
    for name in (*names, *call.outputs):
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
    if not forward:
        given = {**given, "c_previous": given["c"]}

    def spec(name: str) -> pl.BlockSpec:
        def place(block: Any, step: Any) -> tuple[Any, ...]:
            at = step if forward else time - 1 - step
            if name == "c_previous":  # c before the step; before the first it is c_before
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
        interpret=interpret,
        name=f"lstm_{call.direction}",
    )(*given.values())
    return outputs


def _forward_step(given: dict[str, Any], outputs: Sequence[Any], precision: Precision) -> None:
    h_ref, gates_ref, c_ref, h_now, c_now = outputs  # the last two are the state

    @pl.when(pl.program_id(1) == 0)
    def begin() -> None:
        h_now[...] = given["h_before"][...]
        c_now[...] = given["c_before"][...]

    h, c = h_now[...], c_now[...]
    weights = given["recurrent_kernel"]
    width = h.shape[1]
    z = []
    for gate in range(4):
        cut = slice(gate * width, (gate + 1) * width)
        masked = h * given["masks"][gate] if "masks" in given else h
        product = DOT_GENERAL[precision](masked, weights[:, cut], (((1,), (0,)), ((), ())))
        z.append(given["z"][:, cut] + product)
    i, f, g, o = jax.nn.sigmoid(z[0]), jax.nn.sigmoid(z[1]), jnp.tanh(z[2]), jax.nn.sigmoid(z[3])
    c_next = f * c + i * g
    h_next = o * jnp.tanh(c_next)
    if "present" in given:
        present = given["present"][...] > 0
        c_next, h_next = jnp.where(present, c_next, c), jnp.where(present, h_next, h)
    for gate, value in enumerate((i, f, g, o)):
        gates_ref[:, gate * width : (gate + 1) * width] = value
    h_ref[...] = h_now[...] = h_next
    c_ref[...] = c_now[...] = c_next


def _backward_step(given: dict[str, Any], outputs: Sequence[Any], precision: Precision) -> None:
    dz_ref, dh_now, dc_now = outputs  # the last two are the state

    @pl.when(pl.program_id(1) == 0)
    def begin() -> None:
        dh_now[...] = given["h_after"][...]
        dc_now[...] = given["c_after"][...]

    dh, dc_after = dh_now[...], dc_now[...]
    if "dh" in given:
        dh = dh + given["dh"][...]
    width = dh.shape[1]
    cuts = [slice(gate * width, (gate + 1) * width) for gate in range(4)]
    i, f, g, o = (given["gates"][:, cut] for cut in cuts)
    first = pl.program_id(1) == pl.num_programs(1) - 1
    c_previous = jnp.where(first, given["c_before"][...], given["c_previous"][...])
    tanh_c = jnp.tanh(given["c"][...])
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
    for gate, cut in enumerate(cuts):
        dz_ref[:, cut] = dz[gate]
        weights = given["recurrent_kernel"][:, cut]
        product = DOT_GENERAL[precision](dz[gate], weights, (((1,), (1,)), ((), ())))
        dh_before += given["masks"][gate] * product if "masks" in given else product
    dc_before = dc * f
    if "present" in given:
        dh_before, dc_before = (
            jnp.where(present, dh_before, dh),
            jnp.where(present, dc_before, dc_after),
        )
    dh_now[...] = dh_before
    dc_now[...] = dc_before
