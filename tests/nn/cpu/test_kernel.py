"""The CPU kernel by itself: its bits, what is not a number, and when it is chosen."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.programs import run_apart

from jaxmusic.config import Precision
from jaxmusic.nn.cpu.build import why_unavailable
from jaxmusic.nn.cpu.recurrence import CPU
from jaxmusic.nn.lstm import run_lstm
from jaxmusic.nn.recurrence import Workload

pytestmark = pytest.mark.skipif(
    why_unavailable() is not None, reason=f"the CPU kernel can't be had: {why_unavailable()}"
)

PROGRAM = """
import hashlib, jax, jax.numpy as jnp, numpy as np
from jaxmusic.nn.lstm import run_lstm
from jaxmusic.nn.recurrence import Workload
rng = np.random.default_rng(0)
inputs, masks, *weights = (
    jnp.asarray(rng.normal(size=shape), jnp.float32)
    for shape in ((40, 9, 7), (40, 4, 50), (7, 200), (50, 200), (200,))
)
digest = hashlib.sha256()
for precision in ("f32", "bf16"):
    def loss(inputs, *weights):
        how = {"precision": precision, "recurrence": "cpu"}
        return run_lstm(inputs, *weights, masks=masks, **how)[0].sum()
    for array in jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(inputs, *weights)[1]:
        digest.update(np.asarray(array).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_the_bits_are_the_same_on_any_number_of_cores() -> None:
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores, and a system that can restrict a process to one")
    one_core = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    digests = [
        subprocess.run(
            [sys.executable, "-c", before + PROGRAM], capture_output=True, text=True, check=True
        ).stdout
        for before in ("", one_core)
    ]
    assert digests[0] == digests[1] != ""


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_what_is_not_a_number_stays_so(precision: Precision) -> None:
    """A loss that has gone wrong must be seen."""
    inputs = np.zeros((8, 3, 2), np.float32)
    inputs[4, 1, 0] = np.nan
    weights = jnp.ones((2, 80)), jnp.ones((20, 80)), jnp.ones(80)
    outputs, _ = run_lstm(jnp.asarray(inputs), *weights, precision=precision, recurrence="cpu")
    wrong = np.isnan(np.asarray(outputs)).all(axis=2)
    assert wrong[4].tolist() == [False, True, True]
    assert wrong.sum() == 2


@pytest.mark.slow
def test_nothing_is_read_that_was_not_written(tmp_path: Path) -> None:
    """The kernel built so that its own memory is full of what is not a number."""
    program = """
import jax, numpy
from helpers import lstm_cases
for size, mode in lstm_cases.EACH_MODE + lstm_cases.EACH_SIZE:
    found = lstm_cases.found_by("cpu", size, mode)
    assert all(numpy.isfinite(a).all() for a in jax.tree.leaves(found)), (size, mode)
"""
    cxx = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")))
    environment = {"CXX": f"{cxx} -DJAXMUSIC_POISON", "XDG_CACHE_HOME": str(tmp_path)}
    run_apart("-c", program, environment=environment)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_batch_of_no_rows(precision: Precision) -> None:
    """There is nothing to compute, and no gradient."""
    inputs = jnp.zeros((0, 5, 3))
    weights = jnp.ones((3, 80)), jnp.ones((20, 80)), jnp.ones(80)

    def loss(*arrays: jax.Array) -> jax.Array:
        return run_lstm(*arrays, precision=precision, recurrence="cpu")[0].sum()

    d_inputs, *d_weights = jax.grad(loss, (0, 1, 2, 3))(inputs, *weights)
    assert d_inputs.shape == inputs.shape
    assert not any(array.any() for array in d_weights)


@pytest.mark.slow
def test_too_little_memory_is_an_error(tmp_path: Path) -> None:
    """Not the end of the process, as an exception in a thread of the pool would be."""
    program = """
import os
if hasattr(os, "sched_setaffinity"):  # more threads would take fewer rows each
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
import jax.numpy as jnp
from jaxmusic.nn.lstm import run_lstm
from jaxmusic.nn.recurrence import Workload
def run(batch, hidden):
    weights = jnp.ones((3, 4 * hidden)), jnp.ones((hidden, 4 * hidden)), jnp.ones(4 * hidden)
    return run_lstm(jnp.ones((batch, 2, 3)), *weights, recurrence="cpu")[0]
# The packed weights take 2.6 MB; those of the second 1.5, but the rows of a task 2.9.
for batch, hidden in ((16, 400), (2048, 300)):
    try:
        run(batch, hidden)
    except Exception as error:
        print(error)
print(run(16, 20).shape)
"""
    cxx = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")))
    environment = {
        "CXX": f"{cxx} -O1 -DJAXMUSIC_MOST_SCRATCH=2000000",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    output = run_apart("-c", program, environment=environment)
    assert output.count("RESOURCE_EXHAUSTED: no memory for an LSTM layer on the CPU") == 2
    assert "(16, 2, 20)" in output  # it goes on


def test_gates_far_out() -> None:
    """Where exp overflows float32, sigmoid and tanh are 0 and 1."""
    far = jnp.asarray([-1e30, -1e4, -100, 0, 100, 1e4, 1e30, 1], jnp.float32)[:, None, None]
    weights = jnp.ones((1, 4)), jnp.zeros((1, 4)), jnp.zeros(4)
    for recurrence in ("cpu", "scan"):
        _, after = run_lstm(far, *weights, recurrence=recurrence)
        expected = [0, 0, 0, 0, 1, 1, 1, 0.5567]
        np.testing.assert_allclose(after.c[:, 0], expected, atol=1e-4)


def test_a_few_rows_are_left_to_the_scan() -> None:
    assert not CPU.pays(Workload("cpu", steps=100, rows=1, hidden_sizes=(512,)))
    assert not CPU.pays(Workload("cpu", steps=1, rows=64, hidden_sizes=(512,)))
    assert CPU.pays(Workload("cpu", steps=100, rows=64, hidden_sizes=(512,)))


def test_auto_is_the_kernel_where_it_pays() -> None:
    arrays = jnp.zeros((16, 30, 5)), jnp.zeros((5, 32)), jnp.zeros((8, 32)), jnp.zeros(32)
    text = jax.jit(run_lstm).lower(*arrays).as_text()
    assert ("jaxmusic_lstm_forward_f32" in text) == (jax.default_backend() == "cpu")


def test_auto_asks_the_mesh_not_the_default_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a GPU, what runs on its CPUs is computed as on any CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    arrays = jnp.zeros((16, 30, 5)), jnp.zeros((5, 32)), jnp.zeros((8, 32)), jnp.zeros(32)

    def is_kernel() -> bool:
        def layer(*arrays: jax.Array) -> jax.Array:  # a new function: JAX keeps what it has traced
            return run_lstm(*arrays)[0]

        return "jaxmusic_lstm_forward_f32" in jax.jit(layer).lower(*arrays).as_text()

    mesh = jax.make_mesh((1,), ("batch",), devices=jax.devices("cpu")[:1])
    with jax.set_mesh(mesh):
        assert is_kernel()
    with jax.default_device(jax.devices("cpu")[0]):
        assert is_kernel()
    assert not is_kernel()
