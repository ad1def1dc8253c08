"""The recurrent layer in each way of computing it: against a plain loop and JAX's autodiff.

The plain loop is written twice, in NumPy and in JAX, both in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.programs import EIGHT_DEVICES, furthest, quick_jit, run_apart
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmusic.config import Precision, Recurrence
from jaxmusic.errors import UserError
from jaxmusic.nn.cell import Carry, dot
from jaxmusic.nn.cpu.build import why_unavailable
from jaxmusic.nn.lstm import run_lstm

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
ANSWERS = ("sequence", "last", "both")  # what of the layer's results a loss looks at


ALL_ARRAYS = tuple(range(6))


@pytest.fixture(params=["scan", "cpu"])
def recurrence(request: pytest.FixtureRequest) -> Recurrence:
    if request.param == "cpu" and why_unavailable() is not None:
        pytest.skip(f"the CPU kernel can't be had: {why_unavailable()}")
    way: Recurrence = request.param
    return way


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Case:
    """What a layer is run on, and what a loss multiplies its results with.

    To JAX it is a pytree: cases of the same shapes share a compiled program.
    """

    arrays: tuple[Any, ...]  # inputs, weights, carry: what gradients are taken by
    masks: Any
    present: Any
    towards: tuple[Any, Any]

    @classmethod
    def random(cls, size: Size, mode: Mode = (True, True, True)) -> "Case":
        """Random arrays for one size and mode, in NumPy, float64."""
        batch, time, features, hidden = size
        with_masks, with_present, with_carry = mode
        rng = np.random.default_rng(list(size))

        def normal(*shape: int) -> np.ndarray:
            return rng.normal(size=shape)

        inputs = normal(batch, time, features)
        weights = (
            normal(features, 4 * hidden) / features**0.5,
            normal(hidden, 4 * hidden) / hidden**0.5,
            normal(4 * hidden),
        )
        carry = normal(batch, hidden), normal(batch, hidden)
        masks = rng.integers(0, 2, (batch, 4, hidden)) / 0.7
        present = rng.integers(0, 2, (batch, time)) > 0
        return cls(
            (inputs, *weights, *(state * with_carry for state in carry)),
            masks if with_masks else None,
            present if with_present else None,
            (normal(batch, time, hidden), normal(batch, hidden)),
        )

    @property
    def spelled_out(self) -> "Case":
        """The same with masks of ones and with all steps present, where it has neither."""
        batch, time, hidden = self.towards[0].shape
        return replace(
            self,
            masks=np.ones((batch, 4, hidden)) if self.masks is None else self.masks,
            present=np.ones((batch, time), bool) if self.present is None else self.present,
        )

    def loss(self, answer: str, layer: Callable[..., Any], *arrays: Any) -> Any:
        return self.weighed(answer, *layer(*arrays))

    def weighed(self, answer: str, outputs: Any, h: Any, c: Any) -> Any:
        every, last = self.towards
        loss = (outputs * every).sum() if answer != "last" else 0
        if answer != "sequence":
            loss += (h * h * last).sum() + (np if isinstance(c, np.ndarray) else jnp).sin(c).sum()
        return loss

    def run(self, recurrence: Recurrence, precision: Precision, *arrays: Any) -> Any:
        inputs, kernel, recurrent, bias, h, c = arrays
        outputs, after = run_lstm(
            inputs,
            kernel,
            recurrent,
            bias,
            carry=Carry(h, c),
            masks=self.masks,
            steps_present=self.present,
            precision=precision,
            recurrence=recurrence,
        )
        return outputs, after.h, after.c

    def plain(self, *arrays: Any) -> Any:
        """A loop over time, in NumPy or, for autodiff, in JAX."""
        in_numpy = all(isinstance(array, np.ndarray) for array in arrays)
        xp: Any = np if in_numpy else jnp
        inputs, kernel, recurrent, bias, h, c = arrays
        hidden, time = h.shape[1], inputs.shape[1]

        def step(carry: Any, time: Any) -> Any:
            h, c = carry
            gates = []
            for gate in range(4):
                part = slice(gate * hidden, (gate + 1) * hidden)
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
            return (h_next, c_next), h_next

        if in_numpy:
            every = []
            for at in range(time):
                (h, c), output = step((h, c), at)
                every.append(output)
            return np.stack(every, axis=1), h, c
        (h, c), outputs = jax.lax.scan(step, (h, c), jnp.arange(time))
        return outputs.swapaxes(0, 1), h, c


def in_float32(case: Case) -> Case:
    """The same in JAX's arrays; what is bool stays so."""
    arrays: Case = jax.tree.map(jnp.asarray, case)
    return arrays


class Found(NamedTuple):
    """What a layer computes for one case."""

    results: Any  # outputs, h, c
    gradients: dict[str, Any]  # by answer


@partial(jax.jit, static_argnums=(1, 2, 3))
def compute(
    case: Case, recurrence: Recurrence, precisions: tuple[Precision, ...], answers: tuple[str, ...]
) -> dict[Precision, Found]:
    """All that is looked at, in one program: compiling is what takes the time here."""
    found = {}
    for precision in precisions:
        layer = partial(case.run, recurrence, precision)
        gradients = {
            answer: jax.grad(partial(case.loss, answer, layer), ALL_ARRAYS)(*case.arrays)
            for answer in answers
        }
        found[precision] = Found(layer(*case.arrays), gradients)
    return found


@cache
def found_by(
    recurrence: Recurrence, size: Size, mode: Mode, *, x64: bool = False
) -> dict[Precision, Found]:
    """In both precisions, or in float64 alone; of what a loss looks at, one case at other sizes."""
    answers = ANSWERS if size == SMALL else ("both",)
    with jax.enable_x64(x64):
        case = Case.random(size, mode)
        precisions: tuple[Precision, ...] = ("f32",) if x64 else ("f32", "bf16")
        found: dict[Precision, Found] = jax.device_get(
            compute(case, recurrence, precisions, answers)
        )
    return found


@quick_jit
def autodiff_of_plain(case: Case) -> dict[str, Any]:
    results, pull_back = jax.vjp(case.plain, *case.arrays)
    return {
        answer: pull_back(jax.grad(lambda results, a=answer: case.weighed(a, *results))(results))
        for answer in ("sequence", "last")
    }


@cache
def expected_gradients(size: Size, mode: Mode) -> dict[str, Any]:
    """Of the plain loop, by autodiff in float64: one program for all modes."""
    with jax.enable_x64(True):
        found = jax.device_get(autodiff_of_plain(Case.random(size, mode).spelled_out))
    both = tuple(map(np.add, found["sequence"], found["last"]))
    return {**found, "both": both}


@pytest.mark.parametrize(("size", "mode"), EACH_MODE + EACH_SIZE)
def test_equals_the_plain_loop(size: Size, mode: Mode, recurrence: Recurrence) -> None:
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


@pytest.mark.parametrize(("size", "mode"), EACH_MODE + EACH_SIZE)
def test_gradients_in_both_precisions(size: Size, mode: Mode, recurrence: Recurrence) -> None:
    expected = expected_gradients(size, mode)
    found = found_by(recurrence, size, mode)
    bounds: dict[Precision, float] = {"f32": 1e-5, "bf16": 6e-2}
    for precision, bound in bounds.items():
        for answer, gradients in found[precision].gradients.items():
            assert furthest(gradients, expected[answer]) < bound, (precision, answer)


def test_gradients_pass_finite_differences(recurrence: Recurrence) -> None:
    """Against central differences of the NumPy loop."""
    mode = (True, True, True)
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


def test_under_vmap_and_a_scan_over_steps(recurrence: Recurrence) -> None:
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
def test_second_derivatives_are_right_or_refused(recurrence: Recurrence) -> None:
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


def test_forward_derivatives_are_refused(recurrence: Recurrence) -> None:
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


def on_eight_devices(recurrence: Recurrence) -> None:
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
        jax.device_put(case.masks, rows), None, case.towards,
    )  # fmt: skip
    compiled = gradients.lower(placed).compile()
    found = compiled(placed)
    assert found[0].sharding.is_equivalent_to(rows, 3)
    assert furthest(jax.device_get(found), expected) < 1e-5
    text = str(compiled.as_text())
    entry = text[text.index("\nENTRY") :]
    assert "all-gather" not in text
    assert text.count(" all-reduce(") == entry.count(" all-reduce(")
    if recurrence == "cpu":
        assert text.count(" all-reduce(") == 1


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
