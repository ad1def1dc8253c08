"""Sums of very many terms in float32, against exact ones."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmusic.training.compensated import CompensatedSum


@jax.jit
def add_all(so_far: CompensatedSum, terms: jax.Array) -> CompensatedSum:
    """As in a dispatch: a loop in a compiled program."""
    total: CompensatedSum = jax.lax.fori_loop(
        0, len(terms), lambda i, before: before.add(terms[i]), so_far
    )
    return total


def sum_of(value: int) -> CompensatedSum:
    """The sum that an epoch has come to, of whole numbers."""
    high = np.float32(value)
    return CompensatedSum(jnp.float32(high), jnp.float32(value - int(high)))


@pytest.mark.parametrize("before", [0, 10**9 + 7, 2_400_000_001, 7_500_000_123, 2**47 + 3])
def test_counts_are_exact(before: int) -> None:
    after = add_all(sum_of(before), jnp.full(31, 128.0))
    assert Fraction(float(after.high)) + Fraction(float(after.low)) == before + 31 * 128
    assert after.value() == before + 31 * 128
    # So it isn't for a single float32, to which such a term adds nothing.
    assert before < 2**31 or np.float32(before) + np.float32(128) == np.float32(before)


@pytest.mark.parametrize("before", [0, 10**9, 10**10])
def test_losses_are_summed_to_twelve_digits(before: int) -> None:
    terms = np.random.default_rng(1).uniform(0, 1500, 100_000).astype(np.float32)
    after = add_all(sum_of(before), jnp.asarray(terms))
    exact = math.fsum([before, *map(float, terms)])
    assert abs(after.value() - exact) <= 1e-12 * exact


def test_terms_of_many_sizes_and_signs() -> None:
    rng = np.random.default_rng(2)
    terms = (rng.normal(size=4000) * 10.0 ** rng.uniform(-6, 6, 4000)).astype(np.float32)
    after = add_all(CompensatedSum.zero(), jnp.asarray(terms))
    exact = math.fsum(map(float, terms))
    assert abs(after.value() - exact) <= 1e-12 * np.abs(terms).astype(np.float64).sum()
