"""What the compiler for TPUs makes of a training step: no TPU needed, but libtpu (Linux x86-64).

Its estimates are a model's: they compare two programs, they are no measurement. The tests look at
smaller networks, in bfloat16; the preset `classic`, in both precisions, takes ten minutes:

    python tests/compilers/test_tpu.py --full
"""

import json
import os
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.programs import compile_steps, run_apart
from jax import lax
from jax.experimental import topologies
from jax.sharding import Mesh

from jaxmusic.aot.hlo import executed, read_module
from jaxmusic.aot.libtpu import ENVIRONMENT
from jaxmusic.aot.work import KERNEL, collective_kind
from jaxmusic.config import PRESETS, ModelConfig, Precision
from jaxmusic.nn import lstm
from jaxmusic.nn.cell import Carry, Layer
from jaxmusic.nn.products import dot
from jaxmusic.nn.scan import SCAN


def plain_scan(precision: Precision, layer: Layer) -> tuple[jax.Array, Carry]:
    """The layer as one would write it."""
    z_TxBx4H = dot(layer.x_TxBxF, layer.weights.kernel, precision) + layer.weights.bias  # noqa: N806
    kernels = jnp.split(layer.weights.recurrent_kernel, 4, axis=1)

    def step(carry: Carry, z_Bx4H: jax.Array) -> tuple[Carry, jax.Array]:  # noqa: N803
        if layer.masks is None:
            z = z_Bx4H + dot(carry.h, layer.weights.recurrent_kernel, precision)
        else:
            by_gate = [
                dot(carry.h * layer.masks[:, gate], kernels[gate], precision) for gate in range(4)
            ]
            z = z_Bx4H + jnp.concatenate(by_gate, axis=1)
        i, f, g, o = jnp.split(z, 4, axis=1)
        c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return Carry(h, c), h

    after, h_TxBxH = lax.scan(step, layer.before, z_TxBx4H)  # noqa: N806
    return h_TxBxH, after


def plain_scan_forward(precision: Precision, layer: Layer) -> tuple[jax.Array, Carry, Any]:
    (h, after), pull_back = jax.vjp(partial(plain_scan, precision), layer)
    return h, after, pull_back


def plain_scan_backward(
    precision: Precision, layer: Layer, h: jax.Array, pull_back: Any, dh: Any, d_after: Carry
) -> Layer:
    dh = jnp.zeros_like(h) if dh is None else dh
    (d_layer,) = pull_back((dh, d_after))
    gradients: Layer = d_layer._replace(masks=None)
    return gradients


# The plain scan with the gradient that JAX derives: a recurrence of the tests.
AUTODIFF = replace(
    SCAN, name="autodiff", forward=plain_scan_forward, backward=plain_scan_backward, sources=()
)


class Program(NamedTuple):
    """Steps of training at 128 windows a chip."""

    recurrence: str  # that of the flag, or `autodiff`: the plain scan
    precision: str
    topology: str
    devices: int
    window: int
    model: ModelConfig


def compiled_steps(program: Program) -> Any:
    """As `fit` dispatches them for `classic`, compiled for some chips."""
    recurrence, precision, topology, devices, window, model = program
    description = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    mesh = Mesh(np.array(description.devices[:devices]), ("batch",))
    classic = PRESETS["classic"]
    config = replace(
        classic,
        data=replace(classic.data, window=window),
        model=model,
        train=replace(classic.train, precision=precision, batch_size=128 * devices),  # type: ignore[arg-type]
        run=replace(classic.run, recurrence=recurrence),  # type: ignore[arg-type]
    )
    return compile_steps(config, mesh)


def layer_compiles(topology: str, precision: str) -> int:
    """How many kernels a layer of `classic` and its gradient have on one chip."""
    description = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    one = jax.sharding.SingleDeviceSharding(description.devices[0])

    def shaped(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=one)

    def loss(x: jax.Array, kernel: jax.Array, recurrent: jax.Array, masks: jax.Array) -> jax.Array:
        h, _ = lstm.run_lstm(
            x, kernel, recurrent, jnp.zeros(2048), masks=masks, recurrence="pallas",
            precision=precision,  # type: ignore[arg-type]
        )  # fmt: skip
        return (h * h).sum()

    jitted = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    arguments = shaped(128, 100, 512), shaped(512, 2048), shaped(512, 2048), shaped(128, 4, 512)
    text = str(jitted.lower(*arguments).compile().as_text())
    return text.count('custom_call_target="tpu_custom_call"')


def step_facts(program: Program) -> dict[str, float]:
    """What the tests look at, of a compiled program."""
    compiled = compiled_steps(program)
    runs = list(executed(read_module(compiled.as_text())))
    kinds = [(each, collective_kind(each.instruction)) for each in runs]
    reduces = [each for each, kind in kinds if kind == "all-reduce"]
    hidden = program.model.hidden_size
    weights = (hidden, 4 * hidden), (hidden, hidden)
    return {
        "temporary_MiB": compiled.memory_analysis().temp_size_in_bytes / 2**20,
        "other_collectives": sum(kind not in (None, "all-reduce") for _, kind in kinds),
        "all_reduces": len(reduces),
        # The loop over the steps is around them, and no other one.
        "all_reduces_of_a_step": sum(len(each.loops) == 1 for each in reduces),
        # Those with a weight matrix among what they sum.
        "gradient_all_reduces": sum(
            any(shape.dimensions in weights for shape in each.instruction.shapes)
            for each in reduces
        ),
        "kernels": sum(each.times * (KERNEL in each.instruction.attributes) for each in runs),
    }


def estimated_us(program: Program) -> float:
    """The compiler's own estimate for a step. (The text of such programs JAX can't always give.)"""
    estimate: float = compiled_steps(program).cost_analysis()["optimal_seconds"]
    return estimate * 1e6


def all_facts(full: bool) -> dict[str, Any]:
    """Every program is compiled once, in one process; each fact is printed as it is found."""
    facts: dict[str, Any] = {}
    lstm.RECURRENCES[AUTODIFF.name] = AUTODIFF

    def found(name: str, fact: Any) -> None:
        facts[name] = fact
        print(name, fact, file=sys.stderr, flush=True)

    classic = PRESETS["classic"].model
    # Smaller than this, XLA keeps all in VMEM, and there is no memory to compare.
    model = classic if full else replace(classic, layers=2)
    precisions = ("f32", "bf16") if full else ("bf16",)
    for precision, recurrence in product(precisions, ("autodiff", "scan", "pallas")):
        program = Program(recurrence, precision, "v5e:2x4", 8, 100, model)
        found(f"{recurrence} {precision}", step_facts(program))
    # The estimate counts a loop's body once: so the time is that of a step whose loops over time
    # are unrolled. (That over steps stays: once is right.)
    model = classic if full else replace(classic, layers=2, hidden_size=256)
    scan = lax.scan
    lax.scan = partial(scan, unroll=True)
    for precision, recurrence in product(precisions, ("autodiff", "scan", "pallas")):
        program = Program(recurrence, precision, "v5p:2x2x1", 1, 8, model)
        found(f"{recurrence} {precision}, 8 steps", estimated_us(program))
    lax.scan = scan
    for precision, topology in product(precisions, ("v5e:2x2", "v5p:2x2x1", "v6e:2x2")):
        found(f"layer {precision} {topology}", layer_compiles(topology, precision))
    return facts


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """In a process of its own: libtpu, once loaded, stays."""
    if find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed (Linux x86-64 only)")
    found: dict[str, Any] = json.loads(run_apart(__file__, environment=ENVIRONMENT))
    return found


@pytest.mark.parametrize("recurrence", ["scan", "pallas"])
def test_the_gradients_are_summed_once_and_nothing_is_gathered(
    facts: dict[str, Any], recurrence: str
) -> None:
    step = facts[f"{recurrence} bf16"]
    assert step["other_collectives"] == 0
    assert step["gradient_all_reduces"] == 1
    assert step["all_reduces"] == step["all_reduces_of_a_step"]
    assert step["kernels"] == (4 if recurrence == "pallas" else 0)


@pytest.mark.parametrize(("recurrence", "share"), [("scan", 0.6), ("pallas", 0.25)])
def test_temporary_memory(facts: dict[str, Any], recurrence: str, share: float) -> None:
    limit = share * facts["autodiff bf16"]["temporary_MiB"]
    assert facts[f"{recurrence} bf16"]["temporary_MiB"] <= limit


@pytest.mark.parametrize(("recurrence", "ratio"), [("scan", 1.0), ("pallas", 1.5)])
def test_estimated_time(facts: dict[str, Any], recurrence: str, ratio: float) -> None:
    """The kernel's cost estimate reaches the compiler's."""
    assert facts["autodiff bf16, 8 steps"] >= ratio * facts[f"{recurrence} bf16, 8 steps"]


def test_the_kernel_compiles_for_three_generations(facts: dict[str, Any]) -> None:
    kernels = [count for name, count in facts.items() if name.startswith("layer")]
    assert kernels == [2, 2, 2]


if __name__ == "__main__":
    if not ENVIRONMENT.items() <= os.environ.items():  # JAX and libtpu read it when they start
        environment = {**os.environ, **ENVIRONMENT}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    print(json.dumps(all_facts(full="--full" in sys.argv), indent=1))
