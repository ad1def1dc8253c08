"""The peak that a step is compared with: one large matrix product, as XLA computes it."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxmusic.config import Precision
from jaxmusic.distributed.mesh import make_mesh, replicated_sharding, row_sharding
from jaxmusic.nn.products import dot


def xla_product_rate(precision: Precision, size: int, repeats: int) -> float:
    """Measure the FLOP/s, over all devices, of the fastest of some products of square matrices.

    They are multiplied as in the network: in float32, or narrower with float32 sums.
    """
    mesh = make_mesh()
    dtype = jnp.bfloat16 if precision == "bf16" else jnp.float32
    lhs = jax.device_put(jnp.ones((mesh.size * size, size), dtype), row_sharding(mesh))
    rhs = jax.device_put(jnp.ones((size, size), dtype), replicated_sharding(mesh))
    multiply = jax.jit(lambda lhs, rhs: dot(lhs, rhs, precision))
    seconds = best_seconds(lambda: jax.block_until_ready(multiply(lhs, rhs)), repeats)
    return 2 * mesh.size * size**3 / seconds


def best_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the seconds of the fastest run, after a first one that isn't counted."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
