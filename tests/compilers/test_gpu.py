"""What the compiler for NVIDIA GPUs makes of a training step: no GPU needed, but JAX's CUDA plugin.

Every program that a GPU is given to run costs microseconds beside its work, so at small batches
their number is what a step takes. (Which product is computed by which kernel the compiler finds
out by trying on a GPU: here it can't.) The tests look at one precision; all of them:

    python tests/compilers/test_gpu.py
"""

import json
import os
import re
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from helpers.programs import compile_steps, run_apart
from jax.experimental import topologies
from jax.sharding import Mesh

from jaxmusic.aot.hlo import Executed, executed, read_module
from jaxmusic.aot.work import collective_kind
from jaxmusic.config import PRESETS

PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "-1",  # not those that are there
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",  # of libraries that only running needs
    "XLA_FLAGS": "--xla_gpu_autotune_level=0",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
# An H200, as CUDA describes it.
H200 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000
  l2_cache_size: 62914560
  clock_rate_ghz: 1.98
  device_memory_size: 150754820096
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H200"
"""
# What no program is started for.
NOTHING = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all"}


def compiled_step(recurrence: str, precision: str, devices: int) -> Any:
    """Steps of `classic` as `fit` dispatches them, 128 windows a GPU."""
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=H200, topology=f"1x1x{devices}"
    )
    mesh = Mesh(np.array(topology.devices), ("batch",))
    config = PRESETS["classic"]
    config = replace(
        config,
        train=replace(config.train, precision=precision, batch_size=128 * devices),  # type: ignore[arg-type]
        run=replace(config.run, recurrence=recurrence),  # type: ignore[arg-type]
    )
    return compile_steps(config, mesh)


def is_program(each: Executed) -> bool:
    """Whether something is started for an instruction."""
    allocates = "AllocateBuffer" in each.instruction.attributes
    return each.instruction.opcode not in NOTHING and not allocates


def step_facts(recurrence: str, precision: str, devices: int = 1) -> dict[str, Any]:
    """What the tests look at, of a compiled step."""
    compiled = compiled_step(recurrence, precision, devices)
    text = compiled.as_text()
    runs = [each for each in executed(read_module(text)) if is_program(each)]
    loops: dict[str, int] = {}
    for each in runs:
        if len(each.loops) > 1:
            loops[each.loops[1]] = loops.get(each.loops[1], 0) + each.times
    largest = max(shape.elements for each in runs for shape in each.instruction.shapes)
    kinds = [(each, collective_kind(each.instruction)) for each in runs]
    return {
        "programs": sum(each.times for each in runs if each.loops),
        "programs_in_loops": sorted(loops.values()),
        "largest_copies": sum(
            each.instruction.opcode == "copy" and each.instruction.shapes[0].elements > largest / 8
            for each in runs
        ),
        "algorithms": sorted(set(re.findall(r"algorithm=(\w+)", text))),
        "collectives_in_loops": sum(kind is not None and len(e.loops) > 1 for e, kind in kinds),
        "other_collectives": sum(kind not in (None, "all-reduce") for _, kind in kinds),
        "temporary_MiB": compiled.memory_analysis().temp_size_in_bytes / 2**20,
    }


def all_facts(full: bool) -> dict[str, Any]:
    """By recurrence and precision."""
    facts: dict[str, Any] = {}
    for precision in ("f32", "tf32", "bf16") if full else ("bf16",):
        for recurrence in ("scan", "auto"):
            facts[f"{recurrence} {precision}"] = step_facts(recurrence, precision)
    if not full:
        facts["auto tf32"] = step_facts("auto", "tf32")
    facts["auto bf16, 8 GPUs"] = step_facts("auto", "bf16", devices=8)
    return facts


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """In a process of its own, which the plugin must not see GPUs in."""
    if find_spec("jax_plugins") is None or not any(map(find_spec, PLUGINS)):
        pytest.skip("JAX's CUDA plugin is not installed (pip install -e '.[cuda]')")
    found: dict[str, Any] = json.loads(run_apart(__file__, "--few", environment=ENVIRONMENT))
    return found


def test_all_layers_are_one_loop_of_few_programs_a_step(facts: dict[str, Any]) -> None:
    steps = 100 + 3 - 1
    forward, backward = facts["auto bf16"]["programs_in_loops"]
    # The product, its operand, the carry and the row; and what a turn of the loop costs.
    assert forward <= 4.4 * steps
    assert backward <= 4.4 * steps
    assert len(facts["scan bf16"]["programs_in_loops"]) == 6
    assert facts["auto bf16"]["programs"] < facts["scan bf16"]["programs"] / 3


def test_what_is_kept_is_written_once(facts: dict[str, Any]) -> None:
    assert facts["auto bf16"]["largest_copies"] == 0


def test_tf32_is_what_the_compiler_is_asked_for(facts: dict[str, Any]) -> None:
    assert facts["auto tf32"]["algorithms"] == ["dot_tf32_tf32_f32"]


def test_over_several_gpus_nothing_is_gathered_nor_summed_in_a_loop(facts: dict[str, Any]) -> None:
    step = facts["auto bf16, 8 GPUs"]
    assert step["other_collectives"] == step["collectives_in_loops"] == 0
    assert step["largest_copies"] == 0
    # Each has its own rows of what is kept.
    assert step["temporary_MiB"] < 1.2 * facts["auto bf16"]["temporary_MiB"]


if __name__ == "__main__":
    if not ENVIRONMENT.items() <= os.environ.items():  # JAX reads it when it starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ENVIRONMENT})
    print(json.dumps(all_facts(full="--few" not in sys.argv), indent=1))
