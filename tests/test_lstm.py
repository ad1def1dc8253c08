"""The recurrent layer in each way of computing it: against a plain loop and JAX's autodiff.

The plain loop is written twice, in NumPy and in JAX, both in float64.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmusic.errors import UserError
from jaxmusic.lstm import Recurrence, run_lstm
from jaxmusic.lstm_cell import Carry, Precision, dot
from jaxmusic.lstm_cpu_build import why_unavailable

# (batch, time, features, hidden)
Size = tuple[int, int, int, int]
# with masks, with padded steps, with a carry before the first step
Mode = tuple[bool, bool, bool]
SMALL: Size = (5, 7, 3, 4)
BOOLS = (False, True)
MODES: list[Mode] = list(product(BOOLS, BOOLS, BOOLS))
EACH_MODE = [(SMALL, mode) for mode in MODES]
EACH_SIZE = [
    (size, mode)
    for size in ((1, 1, 1, 1), (9, 4, 1, 33), (16, 6, 21, 50))
    for mode in ((False, False, False), (True, True, True))
]
ANSWERS = ["sequence", "last", "both"]  # what of the layer's results a loss looks at
EACH_ANSWER = [(*case, answer) for case in EACH_MODE for answer in ANSWERS]
EACH_ANSWER += [(*case, "both") for case in EACH_SIZE]


@pytest.fixture(params=["scan", "cpu"])
def recurrence(request: pytest.FixtureRequest) -> Recurrence:
    if request.param == "cpu" and why_unavailable() is not None:
        pytest.skip(f"the CPU kernel can't be had: {why_unavailable()}")
    way: Recurrence = request.param
    return way


class Case:
    """Random arrays for one size and mode, float64."""

    def __init__(self, size: Size, mode: Mode = (True, True, True)) -> None:
        self.batch, self.time, self.features, self.hidden = size
        rng = np.random.default_rng(list(size))

        def normal(*shape: int) -> np.ndarray:
            return rng.normal(size=shape)

        self.inputs = normal(self.batch, self.time, self.features)
        self.weights = (
            normal(self.features, 4 * self.hidden) / self.features**0.5,
            normal(self.hidden, 4 * self.hidden) / self.hidden**0.5,
            normal(4 * self.hidden),
        )
        self.carry = normal(self.batch, self.hidden), normal(self.batch, self.hidden)
        masks = rng.integers(0, 2, (self.batch, 4, self.hidden)) / 0.7
        present = rng.integers(0, 2, (self.batch, self.time)) > 0
        with_masks, with_present, with_carry = mode
        self.masks = masks if with_masks else None
        self.present = present if with_present else None
        if not with_carry:
            self.carry = np.zeros_like(self.carry[0]), np.zeros_like(self.carry[1])
        self.towards = normal(self.batch, self.time, self.hidden), normal(self.batch, self.hidden)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What gradients are taken by: inputs, weights, carry."""
        return self.inputs, *self.weights, *self.carry

    def loss(self, answer: str, layer: Callable[..., Any], *arrays: Any) -> Any:
        outputs, h, c = layer(*arrays)
        every, last = self.towards
        loss = (outputs * jnp.asarray(every, outputs.dtype)).sum() if answer != "last" else 0
        if answer != "sequence":
            loss += (h * h * jnp.asarray(last, h.dtype)).sum() + jnp.sin(c).sum()
        return loss

    def run(self, recurrence: Recurrence, precision: Precision, dtype: Any, *arrays: Any) -> Any:
        inputs, kernel, recurrent, bias, h, c = (jnp.asarray(array, dtype) for array in arrays)
        outputs, after = run_lstm(
            inputs,
            kernel,
            recurrent,
            bias,
            carry=Carry(h, c),
            masks=None if self.masks is None else jnp.asarray(self.masks, dtype),
            steps_present=None if self.present is None else jnp.asarray(self.present),
            precision=precision,
            recurrence=recurrence,
        )
        return outputs, after.h, after.c

    def plain(self, *arrays: Any, numpy: bool = False) -> Any:
        """A loop over time, in JAX for autodiff or in NumPy."""
        xp: Any = np if numpy else jnp
        inputs, kernel, recurrent, bias, h, c = arrays
        outputs = []
        for time in range(self.time):
            gates = []
            for gate in range(4):
                part = slice(gate * self.hidden, (gate + 1) * self.hidden)
                masked = h if self.masks is None else h * self.masks[:, gate]
                gates.append(
                    inputs[:, time] @ kernel[:, part] + masked @ recurrent[:, part] + bias[part]
                )
            i, f, o = (1 / (1 + xp.exp(-gates[gate])) for gate in (0, 1, 3))
            c_next = f * c + i * xp.tanh(gates[2])
            h_next = o * xp.tanh(c_next)
            if self.present is not None:
                here = self.present[:, time, None]
                c_next, h_next = xp.where(here, c_next, c), xp.where(here, h_next, h)
            h, c = h_next, c_next
            outputs.append(h)
        return xp.stack(outputs, axis=1), h, c


def furthest(ones: Any, others: Any) -> float:
    """The largest difference, relative to the largest element of its array."""
    return max(
        float(np.abs(np.asarray(a, np.float64) - b).max() / max(np.abs(b).max(), 1e-3))
        for a, b in zip(ones, map(np.asarray, others), strict=True)
    )


@pytest.mark.parametrize(("size", "mode"), EACH_MODE + EACH_SIZE)
def test_equals_the_plain_loop(size: Size, mode: Mode, recurrence: Recurrence) -> None:
    case = Case(size, mode)
    expected = case.plain(*case.arrays, numpy=True)
    results = case.run(recurrence, "f32", jnp.float32, *case.arrays)
    assert results[0].dtype == jnp.float32
    assert furthest(results, expected) < 3e-6
    in_bf16 = case.run(recurrence, "bf16", jnp.float32, *case.arrays)
    assert furthest(in_bf16, expected) < 3e-2


@pytest.mark.parametrize(("size", "mode", "answer"), EACH_ANSWER)
def test_gradients_are_those_of_autodiff_in_float64(size: Size, mode: Mode, answer: str) -> None:
    case = Case(size, mode)
    with jax.enable_x64(True):
        every = tuple(range(6))
        arrays = tuple(map(jnp.asarray, case.arrays))
        expected = jax.jit(jax.grad(partial(case.loss, answer, case.plain), every))(*arrays)
        layer = partial(case.run, "scan", "f32", jnp.float64)
        found = jax.jit(jax.grad(partial(case.loss, answer, layer), every))(*arrays)
        assert found[0].dtype == jnp.float64
        assert furthest(found, expected) < 1e-12


@pytest.mark.parametrize(("size", "mode", "answer"), EACH_ANSWER)
def test_gradients_in_both_precisions(
    size: Size, mode: Mode, answer: str, recurrence: Recurrence
) -> None:
    """Against those of the scan in float64, which the test above holds to autodiff's."""
    case = Case(size, mode)
    every = tuple(range(6))
    with jax.enable_x64(True):
        arrays = tuple(map(jnp.asarray, case.arrays))
        layer = partial(case.run, "scan", "f32", jnp.float64)
        expected = jax.jit(jax.grad(partial(case.loss, answer, layer), every))(*arrays)
    bounds: dict[Precision, float] = {"f32": 1e-5, "bf16": 6e-2}
    for precision, bound in bounds.items():
        layer = partial(case.run, recurrence, precision, jnp.float32)
        loss = partial(case.loss, answer, layer)
        arrays = tuple(jnp.asarray(array, jnp.float32) for array in case.arrays)
        assert furthest(jax.jit(jax.grad(loss, every))(*arrays), expected) < bound


def test_gradients_pass_finite_differences(recurrence: Recurrence) -> None:
    """Against central differences of the NumPy loop."""
    case = Case((8, 5, 2, 3))
    layer = partial(case.run, recurrence, "f32", jnp.float32)
    gradients = jax.grad(partial(case.loss, "both", layer), tuple(range(6)))(
        *(jnp.asarray(array, jnp.float32) for array in case.arrays)
    )
    plain = partial(case.plain, numpy=True)
    for number, gradient in enumerate(gradients):
        for place in np.ndindex(case.arrays[number].shape):
            ends = []
            for sign in (1, -1):
                moved = [array.copy() for array in case.arrays]
                moved[number][place] += sign * 1e-5
                outputs, h, c = plain(*moved)
                every, last = case.towards
                ends.append((outputs * every).sum() + (h * h * last).sum() + np.sin(c).sum())
            assert float(gradient[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=5e-4)


def test_under_vmap_and_a_scan_over_steps(recurrence: Recurrence) -> None:
    case = Case((8, 6, 2, 5))
    gradient = jax.grad(
        partial(case.loss, "both", partial(case.run, recurrence, "f32", jnp.float32))
    )
    rest = [jnp.asarray(array, jnp.float32) for array in case.arrays[1:]]
    inputs = jnp.stack([jnp.asarray(case.inputs * scale, jnp.float32) for scale in (1, 2, 3)])
    one_by_one = jnp.stack([gradient(x, *rest) for x in inputs])
    vectorized = jax.jit(jax.vmap(gradient, in_axes=(0, *[None] * 5)))(inputs, *rest)
    _, scanned = jax.lax.scan(lambda carry, x: (carry, gradient(x, *rest)), 0, inputs)
    np.testing.assert_allclose(vectorized, one_by_one, atol=1e-5)
    np.testing.assert_allclose(scanned, one_by_one, atol=1e-5)


def test_second_derivatives_are_right_or_refused(recurrence: Recurrence) -> None:
    case = Case((8, 4, 2, 3))

    def slope(layer: Callable[..., Any], dtype: Any) -> Any:
        arrays = [jnp.asarray(array, dtype) for array in case.arrays]
        along = jnp.ones_like(arrays[2])

        def first(recurrent: jax.Array) -> jax.Array:
            gradient = jax.grad(partial(case.loss, "both", layer), 2)
            total: jax.Array = (gradient(*arrays[:2], recurrent, *arrays[3:]) * along).sum()
            return total

        return jax.jit(jax.grad(first))(arrays[2])

    with jax.enable_x64(True):
        expected = slope(case.plain, jnp.float64)
        if recurrence == "scan":
            found = slope(partial(case.run, recurrence, "f32", jnp.float64), jnp.float64)
            assert furthest([found], [expected]) < 1e-10
    if recurrence != "scan":
        with pytest.raises(NotImplementedError, match="--recurrence scan"):
            slope(partial(case.run, recurrence, "f32", jnp.float32), jnp.float32)


def test_forward_derivatives_are_refused(recurrence: Recurrence) -> None:
    case = Case((8, 4, 2, 3))
    arrays = [jnp.asarray(array, jnp.float32) for array in case.arrays]
    layer = partial(case.run, recurrence, "f32", jnp.float32)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: layer(x, *arrays[1:])[0], (arrays[0],), (arrays[0],))


def test_no_gradient_flows_to_masks() -> None:
    case = Case((4, 3, 2, 5))
    arrays = [jnp.asarray(array, jnp.float32) for array in case.arrays]

    def loss(masks: jax.Array) -> jax.Array:
        return run_lstm(*arrays[:4], masks=masks)[0].sum()

    assert not jax.grad(loss)(jnp.asarray(case.masks, jnp.float32)).any()


def on_eight_devices(recurrence: Recurrence) -> None:
    """Gradients over 8 devices equal those on one; their sum is one all-reduce."""
    case = Case((16, 6, 21, 50))
    arrays = [jnp.asarray(array, jnp.float32) for array in case.arrays]

    def gradients(inputs: jax.Array, masks: jax.Array, *rest: jax.Array) -> Any:
        def loss(inputs: jax.Array, *weights: jax.Array) -> jax.Array:
            h, after = run_lstm(
                inputs, *weights, carry=Carry(*rest[3:]), masks=masks, recurrence=recurrence
            )
            return (h * h).sum() + after.c.sum()

        return jax.grad(loss, (0, 1, 2, 3))(inputs, *rest[:3])

    masks = jnp.asarray(case.masks, jnp.float32)
    expected = gradients(arrays[0], masks, *arrays[1:])
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("batch",), ()))
    placed = [jax.device_put(a, rows) for a in (arrays[0], masks)]
    placed += [jax.device_put(a, whole) for a in arrays[1:4]]
    placed += [jax.device_put(a, rows) for a in arrays[4:]]
    compiled = jax.jit(gradients).lower(*placed).compile()
    found = compiled(*placed)
    assert found[0].sharding.is_equivalent_to(rows, 3)
    assert furthest(map(np.asarray, found), expected) < 1e-5
    text = str(compiled.as_text())
    entry = text[text.index("\nENTRY") :]
    assert "all-gather" not in text
    assert text.count(" all-reduce(") == entry.count(" all-reduce(")
    if recurrence == "cpu":
        assert text.count(" all-reduce(") == 1


def test_on_eight_devices(recurrence: Recurrence) -> None:
    program = f"""
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
import test_lstm
test_lstm.on_eight_devices({recurrence!r})
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_auto_takes_what_can_compute_the_types() -> None:
    case = Case((16, 20, 2, 3))
    with jax.enable_x64(True):
        outputs, _, _ = case.run("auto", "f32", jnp.float64, *case.arrays)
        assert outputs.dtype == jnp.float64
        with pytest.raises(UserError, match=r"--recurrence cpu: .*; use auto or scan\."):
            case.run("cpu", "f32", jnp.float64, *case.arrays)


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
