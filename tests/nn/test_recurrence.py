"""The registry of recurrences, and the choice among them."""

from dataclasses import replace
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmusic.config import Precision, RecurrenceName
from jaxmusic.errors import UserError
from jaxmusic.nn.cell import Carry, Layer
from jaxmusic.nn.lstm import (
    RECURRENCES,
    can_keep,
    choose_recurrence,
    run_lstm_stack,
    why_not_fastest,
)
from jaxmusic.nn.model import LSTMLayer
from jaxmusic.nn.recurrence import Workload
from jaxmusic.nn.scan import SCAN
from jaxmusic.nn.scan import backward as scan_backward
from jaxmusic.nn.scan import forward as scan_forward

CLASSIC = Workload("cpu", steps=100, rows=128, hidden_sizes=(512, 512, 512))


def test_every_value_of_the_flag_but_auto_is_in_the_registry() -> None:
    assert set(get_args(RecurrenceName)) - {"auto"} <= set(RECURRENCES)
    assert all(name == recurrence.name for name, recurrence in RECURRENCES.items())


@pytest.mark.slow
def test_a_recurrence_is_added_as_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def forward(precision: Precision, layer: Layer) -> tuple[jax.Array, Carry, Any]:
        calls.append("forward")
        return scan_forward(precision, layer)

    def backward(*arguments: Any) -> Layer:
        calls.append("backward")
        return scan_backward(*arguments)

    toy = replace(SCAN, name="toy", forward=forward, backward=backward)
    monkeypatch.setitem(RECURRENCES, "toy", toy)
    layers = [LSTMLayer(features, 3, rngs=nnx.Rngs(0)).weights for features in (2, 3)]

    def gradient(recurrence: Any) -> Any:
        def loss(weights: Any) -> jax.Array:
            outputs, _ = run_lstm_stack(jnp.ones((4, 5, 2)), weights, recurrence=recurrence)
            return outputs.sum()

        return jax.grad(loss)(layers)

    jax.tree.map(np.testing.assert_array_equal, gradient("toy"), gradient("scan"))
    assert calls == ["forward", "forward", "backward", "backward"]


@pytest.mark.parametrize(
    ("workload", "reason"),
    [
        (CLASSIC._replace(platform="gpu"), "the devices here are of the kind gpu"),
        (CLASSIC._replace(float32=False), "it computes in float32 alone"),
    ],
)
def test_what_it_cannot_compute_is_refused_with_the_reason(workload: Workload, reason: str) -> None:
    with pytest.raises(UserError, match=f"--recurrence cpu: {reason}; use auto or scan"):
        choose_recurrence("cpu", workload)
    assert not can_keep("cpu", workload)


def test_without_a_compiler_auto_is_the_scan_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxmusic.nn.cpu.recurrence.why_unavailable", lambda: "no compiler")
    assert choose_recurrence("auto", CLASSIC).name == "scan"
    assert why_not_fastest(CLASSIC) == "no compiler"
    assert why_not_fastest(CLASSIC._replace(platform="tpu")) is None
    monkeypatch.setattr("jaxmusic.nn.cpu.recurrence.why_unavailable", lambda: None)
    assert choose_recurrence("auto", CLASSIC).name == "cpu"
    assert why_not_fastest(CLASSIC) is None


@pytest.mark.parametrize("name", ["auto", "wavefront, a layer at a time", "gone", None, 3])
def test_what_is_not_a_value_of_the_flag_is_not_kept(name: object) -> None:
    assert not can_keep(name, CLASSIC)


def test_float64_and_tpus_are_for_the_scan() -> None:
    assert choose_recurrence("auto", CLASSIC._replace(float32=False)).name == "scan"
    assert choose_recurrence("auto", CLASSIC._replace(platform="tpu")).name == "scan"
