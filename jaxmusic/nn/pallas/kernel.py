"""The Pallas kernels of the recurrent layer: one call of each, and what a step of time does.

The grid runs over time in order, and over independent blocks of the batch. A block whose index
doesn't change with time stays in VMEM: the weights, the masks, and the outputs that hold the state
or sum the gradients of the weights.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxmusic.config import Precision
from jaxmusic.errors import UserError
from jaxmusic.nn.cell import Carry, Gates, activate, cell_gradient, next_c, next_carry
from jaxmusic.nn.products import DOT_GENERAL

LANES = 128  # a register is 8 rows of 128; a gate that fills whole registers is cut for nothing
SUBLANES = 8
VMEM_BYTES = 48 * 2**20  # of the 64 MiB and more of v5e, v5p and v6e; the rest is the compiler's

# What each array of a kernel looks like: its axes, in order. t: time, b: batch, f: features,
# h: hidden units, g: 4 gates of them, q: the 4 gates, n: blocks of the batch, e: of size one.
# Those without t stay in VMEM.
AXES = {
    "x": "tbf", "dx": "tbf", "h": "tbh", "c": "tbh", "dh": "tbh",
    "masks": "qbh", "kernel": "fg", "recurrent_kernel": "hg", "bias": "eg",
    "d_kernel": "nfg", "d_recurrent_kernel": "nhg", "d_bias": "neg",
    "h_before": "bh", "c_before": "bh", "h_after": "bh", "c_after": "bh",
    "dh_before": "bh", "dc_before": "bh", "dh_after": "bh", "dc_after": "bh",
}  # fmt: skip
PRODUCTS = ("kernel", "recurrent_kernel")  # weights that are only ever multiplied with
GRADIENTS = ("d_kernel", "d_recurrent_kernel", "d_bias")
FORWARD_OUTPUTS = ("h", "c", "h_after", "c_after")
BACKWARD_OUTPUTS = ("dx", *GRADIENTS, "dh_before", "dc_before")
BY_ROWS = (((1,), (0,)), ((), ()))
BY_ROWS_TRANSPOSED = (((1,), (1,)), ((), ()))  # a b^T
OVER_ROWS = (((0,), (0,)), ((), ()))  # a^T b


class PallasError(UserError):
    """The kernel can't run at these sizes; the message says what can."""


class Call(NamedTuple):
    """What is fixed when a kernel is traced; `names` are those of its arguments."""

    direction: str
    precision: Precision
    names: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it returns."""
        return FORWARD_OUTPUTS if self.direction == "forward" else BACKWARD_OUTPUTS


class Sizes(NamedTuple):
    """Those of the kernel's arrays, all but time in whole registers."""

    time: int
    batch: int
    features: int
    hidden: int


def filled(size: int, to: int) -> int:
    """The smallest multiple of `to` that is at least `size`."""
    return -(-size // to) * to


def _block_bytes(call: Call, rows: int, features: int, hidden: int) -> int:
    """VMEM that blocks of so many rows of the batch take: all that move or are written twice."""
    size = {"t": 1, "b": rows, "f": features, "g": 4 * hidden, "h": hidden, "q": 4}
    size |= {"n": 1, "e": SUBLANES}
    total = 0
    for name in (*call.names, *call.outputs):
        block = 2 if name in PRODUCTS and call.precision == "bf16" else 4
        for axis in AXES[name]:
            block *= size[axis]
        total += block * (2 if "t" in AXES[name] or name in call.outputs else 1)
    return total + 6 * 4 * rows * 4 * hidden  # and what lies between the products


def rows_a_block(call: Call, batch: int, features: int, hidden: int) -> int:
    """The most rows that fit, the batch cut into equal blocks of whole registers.

    Raises PallasError when not even the fewest do.
    """
    blocks = 1
    while True:
        rows = filled(-(-batch // blocks), SUBLANES)
        if _block_bytes(call, rows, features, hidden) <= VMEM_BYTES:
            return rows
        if rows == SUBLANES:
            raise PallasError(
                f"--recurrence pallas: the weights of {hidden} units in {call.precision} "
                "don't fit into a TPU's VMEM; use --recurrence scan."
            )
        blocks *= 2


def call_kernel(
    call: Call, sizes: Sizes, rows: int, given: dict[str, jax.Array], *, interpret: bool
) -> list[jax.Array]:
    """Run it on blocks of so many rows: `given`, by name, to the outputs in their order."""
    time, batch, features, hidden = sizes
    forward = call.direction == "forward"
    whole = {"t": time, "b": batch, "f": features, "g": 4 * hidden, "h": hidden, "q": 4}
    whole |= {"n": batch // rows, "e": 1}
    dtype = given["c_before"].dtype

    def spec(name: str) -> pl.BlockSpec:
        def index(block: Any, step: Any) -> tuple[Any, ...]:
            at = step if forward else time - 1 - step
            if not forward and name in ("h", "c"):  # of the step before; the first has its own
                at = jnp.maximum(at - 1, 0)
            where = {"t": at, "b": block, "n": block}
            return tuple(where.get(axis, 0) for axis in AXES[name])

        shape = tuple({**whole, "t": None, "n": None, "b": rows}[axis] for axis in AXES[name])
        stays = "t" not in AXES[name] and name not in call.outputs
        return pl.BlockSpec(shape, index, pipeline_mode=pl.Buffered(1) if stays else None)

    body = _forward_step if forward else _backward_step

    def kernel(*refs: Any) -> None:
        inputs = dict(zip(given, refs, strict=False))
        outputs = dict(zip(call.outputs, refs[len(given) :], strict=True))
        body(inputs, outputs, call.precision)

    out_shape = [
        jax.ShapeDtypeStruct(tuple(whole[axis] for axis in AXES[name]), dtype)
        for name in call.outputs
    ]
    in_memory: list[Any] = [*given.values(), *out_shape]
    products = 1 if forward else 3  # the gates; back, the gradients of both sides too
    outputs: list[jax.Array] = pl.pallas_call(
        kernel,
        grid=(batch // rows, time),
        in_specs=[spec(name) for name in given],
        out_specs=[spec(name) for name in call.outputs],
        out_shape=out_shape,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"),
            vmem_limit_bytes=VMEM_BYTES + 8 * 2**20,
        ),
        # What the compiler can't see, for its estimates and its order of things.
        cost_estimate=pl.CostEstimate(
            flops=products * 2 * time * batch * (features + hidden) * 4 * hidden,
            transcendentals=5 * time * batch * hidden,
            bytes_accessed=sum(array.size * array.dtype.itemsize for array in in_memory),
        ),
        interpret=interpret,
        name=f"lstm_{call.direction}",
    )(*given.values())
    return outputs


def _gates(given: dict[str, Any], h: jax.Array, precision: Precision) -> Gates:
    dot = DOT_GENERAL[precision]
    x = given["x"][...]
    z = []
    for gate, cut in enumerate(_cuts(h.shape[1])):
        from_x = dot(x, given["kernel"][:, cut], BY_ROWS)
        from_h = dot(_masked(given, h, gate), given["recurrent_kernel"][:, cut], BY_ROWS)
        z.append(from_x + given["bias"][:, cut] + from_h)
    return activate(z)


def _masked(given: dict[str, Any], array: jax.Array, gate: int) -> jax.Array:
    return array * given["masks"][gate] if "masks" in given else array


def _cuts(width: int) -> list[slice]:
    return [slice(gate * width, (gate + 1) * width) for gate in range(4)]


def _forward_step(given: dict[str, Any], out: dict[str, Any], precision: Precision) -> None:
    h_now, c_now = out["h_after"], out["c_after"]  # the state

    @pl.when(pl.program_id(1) == 0)
    def begin() -> None:
        h_now[...] = given["h_before"][...]
        c_now[...] = given["c_before"][...]

    h, c = h_now[...], c_now[...]
    h_next, c_next = next_carry(_gates(given, h, precision), c)
    out["h"][...] = h_now[...] = h_next
    out["c"][...] = c_now[...] = c_next


def _backward_step(given: dict[str, Any], out: dict[str, Any], precision: Precision) -> None:
    dh_now, dc_now = out["dh_before"], out["dc_before"]  # the state

    @pl.when(pl.program_id(1) == 0)
    def begin() -> None:
        dh_now[...] = given["dh_after"][...]
        dc_now[...] = given["dc_after"][...]
        for name in GRADIENTS:
            out[name][...] = jnp.zeros(out[name].shape, out[name].dtype)

    dh, dc_after = dh_now[...], dc_now[...]
    if "dh" in given:
        dh = dh + given["dh"][...]
    first = pl.program_id(1) == pl.num_programs(1) - 1
    h_previous = jnp.where(first, given["h_before"][...], given["h"][...])
    c_previous = jnp.where(first, given["c_before"][...], given["c"][...])
    gates = _gates(given, h_previous, precision)
    c = next_c(gates, c_previous)
    dz, dc_before = cell_gradient(gates, c_previous, c, Carry(dh, dc_after))
    dh_before = jnp.zeros_like(dh)
    dot = DOT_GENERAL[precision]
    x = given["x"][...]
    dx = jnp.zeros_like(x)
    for gate, cut in enumerate(_cuts(dh.shape[1])):
        to_h = dot(dz[gate], given["recurrent_kernel"][:, cut], BY_ROWS_TRANSPOSED)
        dh_before += _masked(given, to_h, gate)
        dx += dot(dz[gate], given["kernel"][:, cut], BY_ROWS_TRANSPOSED)
        out["d_kernel"][:, cut] += dot(x, dz[gate], OVER_ROWS)
        out["d_recurrent_kernel"][:, cut] += dot(
            _masked(given, h_previous, gate), dz[gate], OVER_ROWS
        )
        out["d_bias"][:, cut] += dz[gate].sum(0, keepdims=True)
    out["dx"][...] = dx
    dh_now[...] = dh_before
    dc_now[...] = dc_before
