"""The arithmetic of a workload, and its JSON."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxmusic.benchmarks.workload import Workload, forward_flop, training_flop
from jaxmusic.config import PRESETS
from jaxmusic.training.state import new_model


def workload(preset: str = "classic", **sizes: Any) -> Workload:
    config = PRESETS[preset]
    model = dataclasses.replace(config.model, **sizes)
    return Workload(model, config.train, window=config.data.window)


def test_a_classic_window_costs_the_computed_flops() -> None:
    a_layer = 2 * (512 + 512) * 2048
    first = 2 * (1 + 512) * 2048
    head = 2 * 512 * 256 + 2 * 256 * 359
    assert forward_flop(workload()) == 100 * (first + 2 * a_layer) + head
    assert training_flop(workload()) / 1e9 == pytest.approx(3.148, abs=5e-4)


@pytest.mark.parametrize("preset", ["classic", "quick"])
def test_xla_counts_the_same_products(preset: str) -> None:
    # One step of time: XLA counts the body of a loop once, however often it runs.
    one = dataclasses.replace(workload(preset, hidden_size=128, dense_size=64), window=1)
    structure, state = nnx.split(new_model(one.config, one.vocabulary_size))
    ids = jnp.zeros((8, 1), jnp.int32)
    compiled = jax.jit(lambda state: nnx.merge(structure, state)(ids)).lower(state).compile()
    analysis: Any = compiled.cost_analysis()
    counted = analysis["flops"]
    assert counted == pytest.approx(8 * forward_flop(one), rel=0.05)


def test_a_workload_comes_back_from_json() -> None:
    ours = workload("quick", hidden_size=7)
    assert Workload.from_json(json.loads(json.dumps(ours.to_json()))) == ours
