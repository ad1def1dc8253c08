"""Compiled programs in tests: made quickly, compared, and run in a process of their own."""

import os
import subprocess
import sys
from functools import partial
from typing import Any

import jax
import numpy as np
from helpers.paths import SCRIPTS, TESTS
from jax.sharding import Mesh

from jaxmusic.config import Config
from jaxmusic.training.programs import training_arguments, training_program

# For what others are compared with: LLVM takes more time than the programs it makes faster.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

# The same for the programs of whole trainings, in processes of their own.
QUICK_COMPILATION = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}

EIGHT_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}


def furthest(ones: Any, others: Any) -> float:
    """The largest difference, relative to the largest element of its array."""
    pairs = zip(jax.tree.leaves(ones), jax.tree.leaves(others), strict=True)
    return max(
        float(np.abs(np.asarray(a, np.float64) - b).max() / max(np.abs(b).max(), 1e-3))
        for a, b in ((np.asarray(one), np.asarray(other)) for one, other in pairs)
    )


def count_reductions(compiled: Any) -> int:
    """The all-reduces of a compiled program: none of them is in a loop, and nothing is gathered."""
    text = str(compiled.as_text())
    entry = text[text.index("\nENTRY") :]
    assert "all-gather" not in text
    count = text.count(" all-reduce(")
    assert count == entry.count(" all-reduce(")
    return count


def compile_steps(config: Config, mesh: Mesh) -> Any:
    """The steps of a dispatch, compiled for the devices of a mesh as `fit` dispatches them.

    The corpus, of the notebooks' size, lies on the devices.
    """
    with jax.set_mesh(mesh):
        jitted = training_program(config, 359, mesh, steps_per_epoch=10)
        arguments = training_arguments(config, 359, mesh, steps=4, tokens=57_177)
        return jitted.lower(*arguments).compile()


def run_apart(*arguments: str, environment: dict[str, str]) -> str:
    """What Python prints, run with these arguments; it must succeed.

    For what JAX or a library of a device reads when it starts.
    """
    path = os.pathsep.join(map(str, (TESTS, SCRIPTS / "dev")))
    ran = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout
