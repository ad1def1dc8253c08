"""Matrix products at the precision that a run asks for."""

from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxmusic.config import Precision
from jaxmusic.nn.devices import current_platform


def supported_precision(precision: Precision, platform: str) -> Precision:
    """The precision that a platform computes in: TensorFloat-32 on GPUs only, else float32."""
    return "f32" if precision == "tf32" and platform != "gpu" else precision


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
        tf32 = supported_precision(rounding, current_platform()) == "tf32"
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


def dot(lhs: jax.Array, rhs: jax.Array, precision: Precision) -> jax.Array:
    """The product over the last axis of `lhs` and the first of `rhs`."""
    contract = (((lhs.ndim - 1,), (0,)), ((), ()))
    return DOT_GENERAL[precision](lhs, rhs, contract)
