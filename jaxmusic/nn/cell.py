"""What all ways of computing the recurrent layer share: its arrays and its products."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike

from jaxmusic.config import BATCH_AXIS, Precision

STEPS_A_TURN = 6  # on GPUs; not measured


class Carry(NamedTuple):
    """What a layer hands from one step to the next: h and c, both (batch, hidden)."""

    h: jax.Array
    c: jax.Array


class Weights(NamedTuple):
    """A layer's, or their gradients."""

    kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array


class Layer(NamedTuple):
    """A layer and what it is run on."""

    x_TxBxF: jax.Array
    weights: Weights
    before: Carry  # the first step
    masks: jax.Array | None  # (batch, 4, hidden), of recurrent dropout
    present_TxB: jax.Array | None  # bool, False at steps that only pad a sequence


class Stack(NamedTuple):
    """Layers, the first one first, and what they are run on: as `Layer`, but one each of all."""

    x_TxBxF: jax.Array
    weights: tuple[Weights, ...]
    before: tuple[Carry, ...]
    masks: tuple[jax.Array | None, ...]
    present_TxB: jax.Array | None


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
    operands to bfloat16 and sums in float32; tf32 does so with TensorFloat-32, on GPUs.
    """
    if rounding != "bf16":
        tf32 = precision_here(rounding) == "tf32"
        exact = lax.Precision.HIGHEST
        return lax.dot_general(
            lhs,
            rhs,
            dimension_numbers,
            precision=lax.DotAlgorithmPreset.TF32_TF32_F32 if tf32 else exact,
            out_sharding=out_sharding,
        )
    return lax.dot_general(
        lhs.astype(jnp.bfloat16),
        rhs.astype(jnp.bfloat16),
        dimension_numbers,
        preferred_element_type=jnp.float32,
        out_sharding=out_sharding,
    )


DOT_GENERAL = {precision: partial(_dot_general, precision) for precision in get_args(Precision)}


def precision_here(precision: Precision) -> Precision:
    """That which the devices here can have: TensorFloat-32 is of GPUs, float32 elsewhere."""
    return "f32" if precision == "tf32" and jax.default_backend() != "gpu" else precision


def dot(lhs: jax.Array, rhs: jax.Array, precision: Precision) -> jax.Array:
    """The product over the last axis of `lhs` and the first of `rhs`."""
    contract = (((lhs.ndim - 1,), (0,)), ((), ()))
    return DOT_GENERAL[precision](lhs, rhs, contract)


def steps_a_turn() -> int:
    """How many steps of time one turn of a compiled loop does.

    On a GPU a step is a few short programs, which the host starts; what belongs to one turn of a
    loop goes out together. Elsewhere more than one step gains nothing and takes longer to compile.
    """
    return STEPS_A_TURN if jax.default_backend() == "gpu" else 1


def over_devices(
    function: Callable[..., Any], given: Iterable[str], made: Iterable[str], *, divided: str
) -> Callable[..., Any]:
    """The function, run by each device of the mesh that `jax.set_mesh` has set on its own rows.

    `given` and `made` are the axes of its arguments and results, a letter each; those in
    `divided` are divided over the devices. For what the compiler can't look into to divide it.
    """
    if BATCH_AXIS not in jax.sharding.get_abstract_mesh().auto_axes:
        return function

    def specs(arrays: Iterable[str]) -> tuple[PartitionSpec, ...]:
        return tuple(
            PartitionSpec(*(BATCH_AXIS if axis in divided else None for axis in axes))
            for axes in arrays
        )

    mapped: Callable[..., Any] = jax.shard_map(
        function,
        in_specs=specs(given),
        out_specs=specs(made),
        check_vma=False,  # which neither Pallas's interpreter passes nor an empty array
    )
    return mapped


def zero_carry(batch: int, hidden: int, dtype: DTypeLike = jnp.float32) -> Carry:
    """The carry before the first step."""
    zeros = jnp.zeros((batch, hidden), dtype)
    return Carry(h=zeros, c=zeros)


def differentiated_once(function: Callable[..., Any], kernel: str) -> Callable[..., Any]:
    """A kernel's function, which has no derivative of its own: asked for one, it refuses.

    `kernel` is what the error, a NotImplementedError, calls it.
    """

    @jax.custom_jvp
    def once(*arrays: jax.Array) -> Any:
        return function(*arrays)

    @once.defjvp
    def twice(*_: Any) -> Any:
        raise NotImplementedError(
            f"{kernel} has no second derivative: use the recurrence 'scan' (--recurrence scan)."
        )

    return once
