"""A layer by the scan and by the C++ kernel: against a plain loop and JAX's autodiff."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.lstm_cases import (
    EACH_MODE,
    EACH_SIZE,
    SMALL,
    Case,
    Mode,
    Size,
    expected_gradients,
    found_by,
    in_float32,
)
from helpers.programs import EIGHT_DEVICES, count_reductions, furthest, quick_jit, run_apart
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmusic.config import Precision, RecurrenceName
from jaxmusic.errors import UserError
from jaxmusic.nn.cell import Carry
from jaxmusic.nn.cpu.build import why_unavailable
from jaxmusic.nn.lstm import run_lstm


@pytest.fixture(params=["scan", "cpu"])
def recurrence(request: pytest.FixtureRequest) -> RecurrenceName:
    if request.param == "cpu" and why_unavailable() is not None:
        pytest.skip(f"the CPU kernel can't be had: {why_unavailable()}")
    way: RecurrenceName = request.param
    return way


@pytest.mark.slow
@pytest.mark.parametrize(("size", "mode"), EACH_MODE + EACH_SIZE)
def test_equals_the_plain_loop(size: Size, mode: Mode, recurrence: RecurrenceName) -> None:
    case = Case.random(size, mode)
    expected = case.plain(*case.arrays)
    found = found_by(recurrence, size, mode)
    assert found["f32"].results[0].dtype == np.float32
    assert furthest(found["f32"].results, expected) < 3e-6
    assert furthest(found["bf16"].results, expected) < 3e-2


@pytest.mark.parametrize(("size", "mode"), EACH_MODE + EACH_SIZE)
@pytest.mark.slow
def test_gradients_are_those_of_autodiff_in_float64(size: Size, mode: Mode) -> None:
    expected = expected_gradients(size, mode)
    found = found_by("scan", size, mode, x64=True)["f32"]
    for answer, gradients in found.gradients.items():
        assert gradients[0].dtype == np.float64
        assert furthest(gradients, expected[answer]) < 1e-12, answer


@pytest.mark.slow
@pytest.mark.parametrize(("size", "mode"), EACH_MODE + EACH_SIZE)
def test_gradients_in_both_precisions(size: Size, mode: Mode, recurrence: RecurrenceName) -> None:
    expected = expected_gradients(size, mode)
    found = found_by(recurrence, size, mode)
    bounds: dict[Precision, float] = {"f32": 1e-5, "bf16": 6e-2}
    for precision, bound in bounds.items():
        for answer, gradients in found[precision].gradients.items():
            assert furthest(gradients, expected[answer]) < bound, (precision, answer)


def test_gradients_pass_finite_differences(recurrence: RecurrenceName) -> None:
    """Against central differences of the NumPy loop."""
    mode = (True, True)
    case = Case.random(SMALL, mode)
    gradients = found_by(recurrence, SMALL, mode)["f32"].gradients["both"]
    for number, gradient in enumerate(gradients):
        for place in np.ndindex(case.arrays[number].shape):
            ends = []
            for sign in (1, -1):
                moved = [array.copy() for array in case.arrays]
                moved[number][place] += sign * 1e-5
                ends.append(case.loss("both", case.plain, *moved))
            assert float(gradient[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=5e-4)


@pytest.mark.slow
def test_under_vmap_and_a_scan_over_steps(recurrence: RecurrenceName) -> None:
    case = in_float32(Case.random((8, 6, 2, 5)))
    inputs = jnp.stack([case.arrays[0] * scale for scale in (1, 2, 3)])

    @jax.jit
    def each_way(case: Case, inputs: jax.Array) -> Any:
        gradient = jax.grad(partial(case.loss, "both", partial(case.run, recurrence, "f32")))
        rest = case.arrays[1:]
        one_by_one = jnp.stack([gradient(x, *rest) for x in inputs])
        vectorized = jax.vmap(gradient, in_axes=(0, *[None] * 5))(inputs, *rest)
        _, scanned = jax.lax.scan(lambda carry, x: (carry, gradient(x, *rest)), 0, inputs)
        return one_by_one, vectorized, scanned

    one_by_one, vectorized, scanned = each_way(case, inputs)
    np.testing.assert_allclose(vectorized, one_by_one, atol=1e-5)
    np.testing.assert_allclose(scanned, one_by_one, atol=1e-5)


@pytest.mark.slow
def test_second_derivatives_are_right_or_refused(recurrence: RecurrenceName) -> None:
    def slope(case: Case, layer: Callable[..., Any]) -> Any:
        gradient = jax.grad(partial(case.loss, "both", layer), 2)

        def first(recurrent: jax.Array) -> jax.Array:
            total: jax.Array = gradient(*case.arrays[:2], recurrent, *case.arrays[3:]).sum()
            return total

        return jax.grad(first)(case.arrays[2])

    case = Case.random((8, 4, 2, 3))
    if recurrence == "scan":
        with jax.enable_x64(True):
            expected = quick_jit(lambda case: slope(case, case.plain))(case)
            found = jax.jit(lambda case: slope(case, partial(case.run, "scan", "f32")))(case)
            assert furthest([found], [expected]) < 1e-10
    else:
        with pytest.raises(NotImplementedError, match="--recurrence scan"):
            jax.jit(lambda case: slope(case, partial(case.run, recurrence, "f32")))(case)


def test_forward_derivatives_are_refused(recurrence: RecurrenceName) -> None:
    case = in_float32(Case.random((8, 4, 2, 3)))
    inputs, *rest = case.arrays
    layer = partial(case.run, recurrence, "f32")
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: layer(x, *rest)[0], (inputs,), (inputs,))


def test_no_gradient_flows_to_masks() -> None:
    case = in_float32(Case.random((4, 3, 2, 5)))

    def loss(masks: jax.Array) -> jax.Array:
        return run_lstm(*case.arrays[:4], masks=masks)[0].sum()

    assert not jax.jit(jax.grad(loss))(case.masks).any()


def on_eight_devices(recurrence: RecurrenceName) -> None:
    """Gradients over 8 devices equal those on one; their sum is one all-reduce."""
    case = in_float32(Case.random((16, 6, 21, 50)))

    @jax.jit
    def gradients(case: Case) -> Any:
        inputs, *weights = case.arrays[:4]

        def loss(inputs: jax.Array, *weights: jax.Array) -> jax.Array:
            h, after = run_lstm(
                inputs,
                *weights,
                carry=Carry(*case.arrays[4:]),
                masks=case.masks,
                recurrence=recurrence,
            )
            return (h * h).sum() + after.c.sum()

        return jax.grad(loss, (0, 1, 2, 3))(inputs, *weights)

    expected = gradients(case)
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    assert mesh.size == 8
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("batch",), ()))
    inputs, *weights, h, c = case.arrays
    placed = Case(
        (*jax.device_put((inputs,), rows), *jax.device_put(weights, whole),
         *jax.device_put((h, c), rows)),
        jax.device_put(case.masks, rows), case.towards,
    )  # fmt: skip
    compiled = gradients.lower(placed).compile()
    found = compiled(placed)
    assert found[0].sharding.is_equivalent_to(rows, 3)
    assert furthest(jax.device_get(found), expected) < 1e-5
    reductions = count_reductions(compiled)
    if recurrence == "cpu":
        assert reductions == 1


@pytest.mark.slow
def test_on_eight_devices() -> None:
    recurrences = ["scan", "cpu"] if why_unavailable() is None else ["scan"]
    program = f"""
from nn import test_lstm
for recurrence in {recurrences!r}:
    test_lstm.on_eight_devices(recurrence)
"""
    run_apart("-c", program, environment=EIGHT_DEVICES)


def test_auto_takes_what_can_compute_the_types() -> None:
    with jax.enable_x64(True):
        case = jax.tree.map(jnp.asarray, Case.random((16, 20, 2, 3)))
        shapes = jax.eval_shape(partial(case.run, "auto", "f32"), *case.arrays)
        assert {shape.dtype for shape in shapes} == {np.dtype(np.float64)}
        with pytest.raises(UserError, match=r"--recurrence cpu: .*; use auto or scan\."):
            case.run("cpu", "f32", *case.arrays)
