"""The Pallas kernel, interpreted, against the scan. (test_tpu.py compiles it for TPUs.)"""

from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.programs import EIGHT_DEVICES, run_apart

from jaxmusic.config import Precision
from jaxmusic.nn.cell import Carry
from jaxmusic.nn.lstm import run_lstm
from jaxmusic.nn.pallas.kernel import PallasError

ONE, ODD, WIDE = (1, 1, 1, 1), (5, 7, 3, 4), (13, 3, 2, 130)  # batch, time, features, hidden
# Sizes; with masks; whether every h counts, or the last carry alone.
CASES = [
    *((ODD, *flags) for flags in product((False, True), repeat=2)),
    (ONE, True, True),
    (ONE, False, False),
    (WIDE, False, False),
    (WIDE, True, True),
]
# LLVM takes more time than the small programs it makes faster.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def arrays(
    batch: int, time: int, features: int, hidden: int, masked: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is differentiated, and what isn't."""
    rng = np.random.default_rng([batch, time, features, hidden])

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    moved = {
        "inputs": normal(batch, time, features),
        "kernel": normal(features, 4 * hidden),
        "recurrent_kernel": normal(hidden, 4 * hidden) / hidden**0.5,
        "bias": normal(4 * hidden),
        "carry": Carry(normal(batch, hidden), normal(batch, hidden)),
    }
    masks = jnp.asarray(rng.integers(0, 2, (batch, 4, hidden)) / 0.7, jnp.float32)
    fixed = {"masks": masks if masked else None}
    return moved, fixed


def loss(
    moved: dict[str, Any], fixed: dict[str, Any], every: bool, precision: Precision, how: Any
) -> tuple[jax.Array, Any]:
    h, after = run_lstm(**moved, **fixed, precision=precision, recurrence=how)
    towards = jnp.cos(jnp.arange(h.size, dtype=jnp.float32)).reshape(h.shape)
    outputs = (h, after) if every else after
    total = (after.h * towards[:, -1]).sum() + (after.c * towards[:, 0]).sum()
    return total + (h * towards).sum() * every, outputs


def stepper(how: str) -> Any:
    """Outputs and gradients, compiled when called."""
    return quick_jit(
        jax.value_and_grad(partial(loss, how=how), has_aux=True), static_argnums=(2, 3)
    )


def both(*arguments: Any) -> tuple[Any, Any]:
    """Outputs and gradients by the scan, and by the kernel."""
    return stepper("scan")(*arguments), stepper("pallas")(*arguments)


def assert_equal(one: Any, other: Any, relative: float) -> None:
    """Each array to a share of its largest element."""
    for expected, value in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        scale = float(jnp.abs(expected).max()) + 1e-30
        np.testing.assert_allclose(value / scale, expected / scale, atol=relative, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "masked", "every"), CASES)
def test_equals_the_scan(sizes: tuple[int, int, int, int], masked: bool, every: bool) -> None:
    moved, fixed = arrays(*sizes, masked)
    assert_equal(*both(moved, fixed, every, "f32"), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "flag"), [(ONE, True), (ODD, False), (ODD, True), (WIDE, True)])
def test_equals_the_scan_in_bf16(sizes: tuple[int, int, int, int], flag: bool) -> None:
    moved, fixed = arrays(*sizes, flag)
    # A sum that differs in its last bit may round to another bfloat16.
    assert_equal(*both(moved, fixed, flag, "bf16"), 1e-5)


@pytest.mark.slow
def test_the_batch_is_cut_into_blocks_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, fixed = arrays(21, 3, 2, 128, True)
    monkeypatch.setattr("jaxmusic.nn.pallas.kernel.VMEM_BYTES", 7 << 19)
    assert_equal(*both(moved, fixed, True, "f32"), 1e-5)


def test_weights_too_large_for_vmem_are_refused() -> None:
    moved = jax.eval_shape(lambda: arrays(8, 2, 1, 2048, False)[0])
    with pytest.raises(PallasError, match="2048 units in f32 .*--recurrence scan"):
        jax.eval_shape(partial(run_lstm, recurrence="pallas"), **moved)


@pytest.mark.slow
def test_under_vmap_and_scan_over_steps() -> None:
    moved, fixed = arrays(5, 4, 3, 4, True)

    def descend(state: Any, _: Any, how: Any) -> Any:
        gradients = jax.grad(lambda m: loss(m, fixed, True, "f32", how)[0])(state)
        return jax.tree.map(lambda value, slope: value - 1e-2 * slope, state, gradients), None

    def three_steps(state: Any, how: Any) -> Any:
        return jax.lax.scan(partial(descend, how=how), state, None, length=3)[0]

    twins = jax.tree.map(lambda value: jnp.stack([value, 2 * value]), moved)
    one, other = (quick_jit(partial(three_steps, how=how))(moved) for how in ("scan", "pallas"))
    assert_equal(one, other, 1e-5)
    one, other = (
        quick_jit(jax.vmap(partial(three_steps, how=how)))(twins) for how in ("scan", "pallas")
    )
    assert_equal(one, other, 1e-5)


def test_a_second_derivative_is_refused() -> None:
    moved, fixed = arrays(2, 3, 2, 4, False)

    def slope(kernel: jax.Array) -> jax.Array:
        def of(kernel: jax.Array) -> jax.Array:
            total, _ = loss({**moved, "kernel": kernel}, fixed, True, "f32", "pallas")
            return total

        gradient: jax.Array = jax.grad(of)(kernel)
        return gradient.sum()

    with pytest.raises(NotImplementedError, match="--recurrence scan"):
        jax.grad(slope)(moved["kernel"])


def on_eight_devices() -> None:
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    moved, fixed = arrays(16, 5, 3, 4, True)
    one = stepper("scan")(moved, fixed, True, "f32")
    fixed = jax.device_put(fixed, rows)
    over_rows = {"inputs", "carry"}
    moved = {k: jax.device_put(v, rows if k in over_rows else whole) for k, v in moved.items()}
    with jax.set_mesh(mesh):
        step = stepper("pallas").lower(moved, fixed, True, "f32").compile()
        assert "all-gather" not in str(step.as_text())
        assert_equal(one, step(moved, fixed), 1e-5)


@pytest.mark.slow
def test_eight_devices_equal_one() -> None:
    program = "from nn.pallas import test_layer; test_layer.on_eight_devices()"
    run_apart("-c", program, environment=EIGHT_DEVICES)
