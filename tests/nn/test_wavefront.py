"""The stack as a wavefront: against a plain loop over layers and steps, and JAX's autodiff."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.programs import EIGHT_DEVICES, count_reductions, furthest, quick_jit, run_apart
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmusic.config import Precision, RecurrenceName
from jaxmusic.errors import UserError
from jaxmusic.nn import wavefront
from jaxmusic.nn.cell import Carry, Weights
from jaxmusic.nn.lstm import run_lstm_stack

# (layers, batch, time, features, hidden)
Size = tuple[int, int, int, int, int]
SMALL: Size = (3, 5, 4, 2, 4)
SIZES: list[Size] = [
    SMALL,
    (2, 1, 1, 1, 1),
    (4, 3, 2, 3, 5),
    (2, 9, 6, 1, 33),
    (5, 2, 1, 7, 3),
    (1, 4, 5, 3, 6),
]
MASKS = ("none", "all", "but the last")
CASES = [
    *((SMALL, masks) for masks in MASKS),
    *(product(SIZES[1:], ("none", "but the last"))),
]
ANSWERS = ("sequence", "last", "both")  # what of the results a loss looks at


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Case:
    """What a stack is run on, and what a loss multiplies its results with."""

    inputs: Any
    layers: Any
    carries: Any
    masks: Any
    towards: Any

    @classmethod
    def random(cls, size: Size, masks: str) -> "Case":
        layers, batch, time, features, hidden = size
        rng = np.random.default_rng([*size, len(masks)])

        def normal(*shape: int) -> Any:
            return rng.normal(size=shape)

        masked = {"none": (), "all": range(layers), "but the last": range(layers - 1)}[masks]
        return cls(
            normal(batch, time, features),
            tuple(
                Weights(
                    normal(into, 4 * hidden) / into**0.5,
                    normal(hidden, 4 * hidden) / hidden**0.5,
                    normal(4 * hidden),
                )
                for into in [features, *[hidden] * (layers - 1)]
            ),
            tuple(Carry(normal(batch, hidden), normal(batch, hidden)) for _ in range(layers)),
            tuple(
                rng.integers(0, 2, (batch, 4, hidden)) / 0.7 if layer in masked else None
                for layer in range(layers)
            ),
            (normal(batch, time, hidden), normal(layers, batch, hidden)),
        )

    @property
    def varied(self) -> tuple[Any, Any, Any]:
        """What gradients are taken by."""
        return self.inputs, self.layers, self.carries

    def run(
        self,
        recurrence: RecurrenceName,
        precision: Precision,
        inputs: Any,
        layers: Any,
        carries: Any,
    ) -> Any:
        return run_lstm_stack(
            inputs,
            layers,
            carries=carries,
            masks=self.masks,
            precision=precision,
            recurrence=recurrence,
        )

    def plain(self, inputs: Any, layers: Any, carries: Any) -> Any:
        """Step by step, and layer by layer in each."""

        def step(states: Any, below: Any) -> Any:
            states = list(states)
            for number, (kernel, recurrent, bias) in enumerate(layers):
                h, c = states[number]
                masks = self.masks[number]
                gates = []
                for gate in range(4):
                    part = slice(gate * h.shape[1], (gate + 1) * h.shape[1])
                    own = h if masks is None else h * masks[:, gate]
                    gates.append(below @ kernel[:, part] + own @ recurrent[:, part] + bias[part])
                i, f, o = (1 / (1 + jnp.exp(-gates[gate])) for gate in (0, 1, 3))
                c_next = f * c + i * jnp.tanh(gates[2])
                h_next = o * jnp.tanh(c_next)
                states[number] = Carry(h_next, c_next)
                below = h_next
            return tuple(states), below

        states, outputs = jax.lax.scan(step, tuple(carries), inputs.swapaxes(0, 1))
        return outputs.swapaxes(0, 1), states

    def loss(self, answer: str, stack: Callable[..., Any], *varied: Any) -> Any:
        outputs, afters = stack(*varied)
        every, last = self.towards
        loss = (outputs * every).sum() if answer != "last" else 0
        if answer != "sequence":
            for after, weights in zip(afters, last, strict=True):
                loss += (after.h * after.h * weights).sum() + jnp.sin(after.c).sum()
        return loss

    def gradient(self, answer: str, stack: Callable[..., Any]) -> Any:
        return jax.grad(partial(self.loss, answer, stack), (0, 1, 2))(*self.varied)


@partial(quick_jit, static_argnums=(0, 1))
def computed(
    how: tuple[RecurrenceName, Precision] | None, answers: tuple[str, ...], case: Case
) -> Any:
    """Results and gradients; `how` None: of the plain loop."""
    stack = case.plain if how is None else partial(case.run, *how)
    return stack(*case.varied), [case.gradient(answer, stack) for answer in answers]


@pytest.mark.parametrize(("size", "masks"), CASES)
@pytest.mark.slow
def test_equals_the_plain_loop_and_its_autodiff(size: Size, masks: str) -> None:
    answers = ANSWERS if size == SMALL else ("both",)
    case = Case.random(size, masks)
    with jax.enable_x64(True):
        expected = computed(None, answers, case)
        found = computed(("wavefront", "f32"), answers, case)
        assert found[0][0].dtype == np.float64
        assert furthest(found, expected) < 1e-12


@pytest.mark.slow
def test_in_float32_and_bfloat16() -> None:
    case = Case.random(SMALL, "but the last")
    with jax.enable_x64(True):
        exact = computed(None, ("both",), case)
    case = jax.tree.map(jnp.asarray, case)
    assert furthest(computed(("wavefront", "f32"), ("both",), case), exact) < 1e-5
    rounded = computed(("scan", "bf16"), ("both",), case)
    found = computed(("wavefront", "bf16"), ("both",), case)
    assert furthest(found, rounded) < 2e-2
    assert furthest(found, exact) > 1e-4


@pytest.mark.slow
def test_under_vmap_and_a_scan_over_steps() -> None:
    case = jax.tree.map(jnp.asarray, Case.random(SMALL, "but the last"))
    inputs = jnp.stack([case.inputs * scale for scale in (1, 2, 3)])

    @quick_jit
    def each_way(inputs: jax.Array) -> Any:
        loss = partial(case.loss, "both", partial(case.run, "wavefront", "f32"))
        gradient = jax.grad(lambda x: loss(x, case.layers, case.carries))
        one_by_one = jnp.stack([gradient(x) for x in inputs])
        vectorized = jax.vmap(gradient)(inputs)
        return one_by_one, vectorized, jax.lax.map(gradient, inputs)

    one_by_one, vectorized, scanned = each_way(inputs)
    np.testing.assert_allclose(vectorized, one_by_one, atol=1e-5)
    np.testing.assert_allclose(scanned, one_by_one, atol=1e-5)


@pytest.mark.slow
def test_second_derivatives_are_those_of_the_plain_loop() -> None:
    def slope(case: Case, stack: Callable[..., Any]) -> Any:
        def first(layers: Any) -> Any:
            loss = partial(case.loss, "both", stack)
            gradient = jax.grad(lambda layers: loss(case.inputs, layers, case.carries))(layers)
            return sum(leaf.sum() for leaf in jax.tree.leaves(gradient))

        return jax.grad(first)(case.layers)

    case = Case.random((2, 3, 3, 2, 2), "but the last")
    with jax.enable_x64(True):
        expected = quick_jit(lambda case: slope(case, case.plain))(case)
        found = quick_jit(lambda case: slope(case, partial(case.run, "wavefront", "f32")))(case)
        assert furthest(found, expected) < 1e-10


def test_no_gradient_flows_to_masks() -> None:
    case = jax.tree.map(jnp.asarray, Case.random(SMALL, "but the last"))

    def loss(masks: Any) -> Any:
        return run_lstm_stack(
            case.inputs, case.layers, masks=masks, recurrence="wavefront"
        )[0].sum()  # fmt: skip

    assert not jax.jit(jax.grad(loss))(case.masks)[0].any()


def loops_of(how: RecurrenceName, size: Size) -> list[int]:
    """The lengths of the loops over time of a stack's forward pass."""
    case = jax.tree.map(jnp.asarray, Case.random(size, "but the last"))
    text = str(jax.make_jaxpr(partial(case.run, how, "f32"))(*case.varied))
    return [int(part.split()[0]) for part in text.split(" length=")[1:]]


def test_it_is_one_loop_and_auto_s_choice_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loops_of("wavefront", SMALL) == [4 + 3 - 1]
    assert loops_of("scan", SMALL) == [4, 4, 4]
    assert loops_of("auto", SMALL) == [4, 4, 4]  # so few rows are the scan's on CPUs
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert loops_of("auto", SMALL) == [4 + 3 - 1]
    assert loops_of("auto", (1, 5, 7, 2, 4)) == [7]
    monkeypatch.setattr(wavefront, "MANY_ROWS", 5)
    assert loops_of("auto", SMALL) == [4, 4, 4]


def test_layers_of_different_sizes_are_no_wavefront(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [
        Weights(jnp.ones((2, 12)), jnp.ones((3, 12)), jnp.ones(12)),
        Weights(jnp.ones((3, 8)), jnp.ones((2, 8)), jnp.ones(8)),
    ]
    with pytest.raises(UserError, match="same number of hidden units"):
        run_lstm_stack(jnp.ones((5, 7, 2)), layers, recurrence="wavefront")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    outputs, _ = jax.eval_shape(run_lstm_stack, jnp.ones((5, 7, 2)), layers)
    assert outputs.shape == (5, 7, 2)


def on_eight_devices(*, set_mesh: bool) -> None:
    """Gradients over 8 devices equal those on one; nothing is gathered or summed in a loop.

    (That each has its own rows of what is kept, only another compiler shows: test_gpu.py.)
    """
    case = jax.tree.map(jnp.asarray, Case.random((3, 16, 6, 2, 5), "but the last"))

    @quick_jit
    def gradients(case: Case) -> Any:
        return case.gradient("both", partial(case.run, "wavefront", "f32"))

    expected = gradients(case)
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    assert mesh.size == 8
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("batch",), ()))
    inputs, carries, masks = jax.device_put((case.inputs, case.carries, case.masks), rows)
    layers = jax.device_put(case.layers, whole)
    every, last = case.towards
    towards = jax.device_put(every, rows), jax.device_put(last, whole)
    placed = Case(inputs, layers, carries, masks, towards)
    with jax.set_mesh(mesh) if set_mesh else nullcontext():
        compiled = gradients.lower(placed).compile()
        found = compiled(placed)
    assert found[0].sharding.is_equivalent_to(rows, 3)
    assert furthest(jax.device_get(found), expected) < 1e-5
    assert count_reductions(compiled) > 0


@pytest.mark.slow
def test_on_eight_devices() -> None:
    program = """
from nn import test_wavefront
test_wavefront.on_eight_devices(set_mesh=False)
test_wavefront.on_eight_devices(set_mesh=True)
"""
    run_apart("-c", program, environment=EIGHT_DEVICES)
