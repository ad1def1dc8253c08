"""Matrix products at each precision."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.lstm_cases import Case, in_float32

from jaxmusic.config import Precision
from jaxmusic.nn.products import dot


def test_bf16_rounds_the_operands_and_sums_in_float32() -> None:
    rng = np.random.default_rng(2)
    left = jnp.asarray(rng.normal(size=(4, 1000)), jnp.float32)
    right = jnp.asarray(rng.normal(size=(1000, 3)), jnp.float32)
    exact = np.asarray(left, np.float64) @ np.asarray(right, np.float64)
    rounded = np.asarray(left.astype(jnp.bfloat16), np.float64) @ np.asarray(
        right.astype(jnp.bfloat16), np.float64
    )
    product = dot(left, right, "bf16")
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, rounded, rtol=1e-4, atol=1e-4)
    assert np.abs(rounded - exact).max() > 1e-2
    np.testing.assert_allclose(dot(left, right, "f32"), exact, rtol=1e-4, atol=1e-4)


def test_tf32_is_float32_but_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    case = in_float32(Case.random((8, 4, 2, 3)))

    def run(precision: Precision) -> Any:
        return case.run("auto", precision, *case.arrays)

    for one, other in zip(run("tf32"), run("f32"), strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    products = [
        line for line in str(jax.make_jaxpr(lambda: run("tf32"))()).splitlines()
        if "precision=" in line
    ]  # fmt: skip
    assert products
    assert all("TF32_TF32_F32" in line for line in products)
