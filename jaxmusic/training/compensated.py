"""Accurate sums of very many float32 terms."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class CompensatedSum(NamedTuple):
    """A sum as two float32 numbers, of 48 significant bits together (Dekker 1971).

    A single float32 stops at 2**24 times its smallest term: past 2.4e9 windows, an epoch's sum
    would ignore whole batches.
    """

    high: jax.Array  # () float32: the sum, rounded
    low: jax.Array  # () float32: what the rounding left out

    @classmethod
    def zero(cls) -> "CompensatedSum":
        """An empty sum."""
        return cls(jnp.float32(0), jnp.float32(0))

    def add(self, term: jax.Array) -> "CompensatedSum":
        """Add a term.

        Exact as long as the compiler keeps the order of additions, as XLA does.
        """
        high, error = _two_sum(self.high, term)
        return CompensatedSum(*_two_sum(high, error + self.low))

    def value(self) -> float:
        """The sum in float64."""
        return float(self.high) + float(self.low)


def _two_sum(left: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The rounded sum of two numbers, and its rounding error, exactly (Knuth 1969)."""
    total = left + right
    of_right = total - left
    return total, (left - (total - of_right)) + (right - of_right)
