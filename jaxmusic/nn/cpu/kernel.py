"""A layer on CPUs: the C++ functions as JAX functions.

XLA's own products and loops leave half of a CPU's arithmetic unused on a recurrence. The kernel
keeps the products of a step in registers until the cell is computed.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from jaxmusic.config import Precision
from jaxmusic.nn.cell import Carry, Layer, Weights
from jaxmusic.nn.recurrence import differentiated_once

GATE_DTYPES = {"f32": jnp.float32, "bf16": jnp.float16}  # of the gates among the residuals


class Axes(NamedTuple):
    """The axes of an array, one letter each, as in the names in cell.py."""

    letters: str | None  # None: an empty array, for one that is absent
    dtype: DTypeLike = jnp.float32


SEQUENCE = {
    "x": Axes("tbf"),
    "kernel": Axes("fg"),  # g: the four gates' units, 4 * hidden
    "recurrent_kernel": Axes("hg"),
    "h_before": Axes("bh"),
    "c_before": Axes("bh"),
    "masks": Axes("bqh"),  # q: the four gates
}
FORWARD = {**SEQUENCE, "bias": Axes("g")}
BACKWARD = {
    **SEQUENCE,
    "h": Axes("tbh"),
    "gates": Axes("tbg"),
    "c": Axes("tbh"),
    "dh": Axes("tbh"),
    "dh_after": Axes("bh"),
    "dc_after": Axes("bh"),
}
GRADIENTS = {
    "x": Axes("tbf"),
    "kernel": Axes("fg"),
    "recurrent_kernel": Axes("hg"),
    "bias": Axes("g"),
    "h_before": Axes("bh"),
    "c_before": Axes("bh"),
}


def forward(precision: Precision, layer: Layer) -> tuple[jax.Array, Carry, dict[str, jax.Array]]:
    """h at every step, the carry after the last one, and what `backward` needs."""
    residuals = {"gates": Axes("tbg", GATE_DTYPES[precision]), "c": Axes("tbh")}
    results = _forward(precision, layer, residuals)
    return *_outputs(results), {name: results[name] for name in residuals}


def inference(precision: Precision, layer: Layer) -> tuple[jax.Array, Carry]:
    """`forward` without what `backward` needs."""
    residuals = {"gates": Axes(None, GATE_DTYPES[precision]), "c": Axes(None)}
    return _outputs(_forward(precision, layer, residuals))


def _forward(
    precision: Precision, layer: Layer, residuals: dict[str, Axes]
) -> dict[str, jax.Array]:
    arrays = {**_arrays(layer), "bias": layer.weights.bias}
    results = {"h": Axes("tbh"), "c_after": Axes("bh"), **residuals}
    return _call(f"jaxmusic_lstm_forward_{precision}", FORWARD, arrays, results)


def _outputs(results: dict[str, jax.Array]) -> tuple[jax.Array, Carry]:
    return results["h"], Carry(results["h"][-1], results["c_after"])


def backward(
    precision: Precision,
    layer: Layer,
    h_TxBxH: jax.Array,
    residuals: dict[str, jax.Array],
    dh_TxBxH: jax.Array | None,
    d_after: Carry,
) -> Layer:
    """The gradients of x, the weights and the carry before the first step."""
    arrays = {
        **_arrays(layer),
        **residuals,
        "h": h_TxBxH,
        "dh": dh_TxBxH,
        "dh_after": d_after.h,
        "dc_after": d_after.c,
    }
    d = _call(f"jaxmusic_lstm_backward_{precision}", BACKWARD, arrays, GRADIENTS)
    weights = Weights(d["kernel"], d["recurrent_kernel"], d["bias"])
    return Layer(d["x"], weights, Carry(d["h_before"], d["c_before"]), None)


def _arrays(layer: Layer) -> dict[str, jax.Array | None]:
    return {
        "x": layer.x_TxBxF,
        "kernel": layer.weights.kernel,
        "recurrent_kernel": layer.weights.recurrent_kernel,
        "h_before": layer.before.h,
        "c_before": layer.before.c,
        "masks": layer.masks,
    }


def _call(
    target: str,
    axes: dict[str, Axes],
    arrays: dict[str, jax.Array | None],
    results: dict[str, Axes],
) -> dict[str, jax.Array]:
    given = {name: arrays[name] for name in axes}
    function = Function(
        target,
        tuple(
            Axes(of.letters if given[name] is not None else None, of.dtype)
            for name, of in axes.items()
        ),
        tuple(results.values()),
    )
    operands = [
        jnp.zeros(0, axes[name].dtype) if array is None else array for name, array in given.items()
    ]
    return dict(zip(results, function(*operands), strict=True))


class Function(NamedTuple):
    """A function of the C++ library, with the axes of its arrays."""

    target: str
    arguments: tuple[Axes, ...]
    results: tuple[Axes, ...]

    def __call__(self, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        """Call the function, under jit on any number of devices, or under vmap (sequentially)."""

        @custom_vmap
        def batched(*arrays: jax.Array) -> tuple[jax.Array, ...]:
            return tuple(_partitioned(self, *arrays))

        @batched.def_vmap
        def in_turn(_: int, are: list[bool], *arrays: jax.Array) -> Any:
            def one(arrays_in_turn: list[jax.Array]) -> Any:
                turns = iter(arrays_in_turn)
                return self(*(next(turns) if b else a for b, a in zip(are, arrays, strict=True)))

            results = lax.map(one, [a for b, a in zip(are, arrays, strict=True) if b])
            return results, tuple(True for _ in results)

        once = differentiated_once(batched, "The CPU kernel of the LSTM")
        results: tuple[jax.Array, ...] = once(*arrays)
        return results

    def on_one_device(self, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        """Call the function on the rows of one device."""
        sizes: dict[str, int] = {}
        for of, array in zip(self.arguments, arrays, strict=True):
            sizes.update(zip(of.letters or "", array.shape, strict=of.letters is not None))
        shapes = [
            jax.ShapeDtypeStruct(
                (0,) if of.letters is None else tuple(sizes[letter] for letter in of.letters),
                of.dtype,
            )
            for of in self.results
        ]
        return tuple(jax.ffi.ffi_call(self.target, shapes)(*arrays))


def _sharding_rule(function: Function, *_: Any) -> tuple[str, dict[str, Any]]:
    """The batch's rows may be sharded; every other axis is replicated."""
    empty = 0

    def factors(of: Axes) -> str:
        nonlocal empty
        if of.letters is None:
            empty += 1
            return f"n{empty}"
        return " ".join(of.letters)

    left = ", ".join(map(factors, function.arguments))
    right = ", ".join(map(factors, function.results))
    # Shardy wants them in the order in which they first appear.
    whole = list(dict.fromkeys(f"{left} {right}".replace(",", "").split()))
    whole.remove("b")
    return f"{left} -> {right}", {"need_replication_factors": tuple(whole)}


def _partition(function: Function, mesh: Mesh, arguments: Any, _: Any) -> Any:
    x_axes = arguments[0].sharding.spec
    batch_axes = x_axes[1] if len(x_axes) > 1 else None

    def sharding(of: Axes) -> NamedSharding:
        letters = of.letters or ""
        return NamedSharding(
            mesh, PartitionSpec(*(batch_axes if letter == "b" else None for letter in letters))
        )

    def on_each_device(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        results = function.on_one_device(*arrays)
        if batch_axes is None:
            return results
        # What has no rows is a sum over them: the weights' gradients.
        sums = [of.letters is not None and "b" not in of.letters for of in function.results]
        summed = iter(lax.psum([a for a, s in zip(results, sums, strict=True) if s], batch_axes))
        return tuple(next(summed) if s else a for a, s in zip(results, sums, strict=True))

    return (
        mesh,
        on_each_device,
        tuple(map(sharding, function.results)),
        tuple(map(sharding, function.arguments)),
    )


@partial(custom_partitioning, static_argnums=(0,))
def _partitioned(function: Function, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    return function.on_one_device(*arrays)


_partitioned.def_partition(partition=_partition, sharding_rule=_sharding_rule)
