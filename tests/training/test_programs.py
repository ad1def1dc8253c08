"""The programs of a training, as XLA compiles them for eight CPU devices: what moves between them.

In a process of its own: the number of devices is fixed when JAX starts.
"""

import json
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import jax
import pytest
from helpers.programs import run_apart

from jaxmusic.aot.hlo import executed, read_module
from jaxmusic.aot.work import collective_kind
from jaxmusic.config import PRESETS
from jaxmusic.distributed.mesh import make_mesh
from jaxmusic.nn.cpu.build import why_unavailable
from jaxmusic.training.programs import training_arguments, training_program

HIDDEN, DENSE, VOCABULARY, WINDOW = 32, 24, 59, 12
QUICKLY = {"xla_backend_optimization_level": 0}  # of machine code, which nobody looks at
RECURRENCES, SOURCES = ("scan", "cpu"), ("devices", "host")


def collectives(
    recurrence: str, source: str, *, carried: bool = False, rows: int = 64
) -> list[dict[str, Any]]:
    """Those of a small network's training program, on all devices, in the order they run."""
    classic = PRESETS["classic"]
    config = replace(
        classic,
        data=replace(classic.data, window=WINDOW, carry_state=carried),
        model=replace(
            classic.model,
            hidden_size=HIDDEN,
            layers=2,
            dense_size=DENSE,
            objective="every" if carried else "last",
        ),
        train=replace(classic.train, batch_size=rows),
        run=replace(classic.run, recurrence=recurrence),  # type: ignore[arg-type]
    )
    mesh = make_mesh()
    on_devices = source == "devices"
    with jax.set_mesh(mesh):
        program = training_program(config, VOCABULARY, mesh, steps_per_epoch=9)
        arguments = training_arguments(
            config, VOCABULARY, mesh,
            steps=4 if on_devices else 1, tokens=5000 if on_devices else None,
        )  # fmt: skip
        text = program.lower(*arguments).compile(QUICKLY).as_text()
    return [
        {
            "kind": kind,
            "arrays": [shape.dimensions for shape in each.instruction.shapes],
            "loops": len(each.loops),
        }
        for each in executed(read_module(text))
        if (kind := collective_kind(each.instruction)) is not None
    ]


@pytest.fixture(scope="module")
def programs() -> dict[str, list[dict[str, Any]]]:
    """All of them, compiled in one process."""
    eight = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    found: dict[str, list[dict[str, Any]]] = json.loads(run_apart(__file__, environment=eight))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_the_gradients_are_summed_once_a_step(
    programs: dict[str, list[dict[str, Any]]], recurrence: str, source: str
) -> None:
    if recurrence == "cpu" and (reason := why_unavailable()) is not None:
        pytest.skip(f"no kernel on this CPU: {reason}")
    found = programs[f"{recurrence} {source}"]
    # Nothing is gathered, though each device cuts its windows out of the whole corpus.
    assert {each["kind"] for each in found} == {"all-reduce"}
    assert max(each["loops"] for each in found) == 1  # that of the steps: none in one of time

    # Of a step: the gradients, with the loss and the number of windows; and what each of the two
    # batch norms needs one after the other: the mean, the variance, and on the way back the sums
    # for the gradients of the variance, and of the mean. (How many rows count goes with those, or
    # from the host, whose dispatches have one step, once outside the loop.)
    in_step = [each["arrays"] for each in found if each["loops"] == 1]
    assert len(in_step) == 1 + 2 * 4
    assert len(found) - len(in_step) <= 1

    # Weight matrices: each is summed once, those of the LSTM layers together. What is ready before
    # the last batch norm's sums are (the dense layers') may travel with them.
    matrices = [[size for size in arrays if len(size) == 2] for arrays in in_step]
    with_some = [sizes for sizes in matrices if sizes]
    assert len(with_some) <= 2
    lstm = (1 + HIDDEN + 2 * HIDDEN) * 4 * HIDDEN
    heads = DENSE * HIDDEN + DENSE * VOCABULARY
    assert sum(prod(size) for sizes in with_some for size in sizes) == lstm + heads
    assert max(sum(map(prod, sizes)) for sizes in with_some) >= lstm
    # What else there is are vectors of a layer, and numbers.
    widths = {(), (HIDDEN,), (4 * HIDDEN,), (DENSE,), (VOCABULARY,)}
    rest = {tuple(size) for each in found for size in each["arrays"] if len(size) != 2}
    assert rest <= widths


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_carried_state_stays_on_its_devices_until_the_dispatch_ends(
    programs: dict[str, list[dict[str, Any]]], source: str
) -> None:
    """Then it is gathered, h and c of both layers; of 60 rows, which are filled up to 64."""
    found = programs[f"carried {source}"]
    gathered = [each for each in found if each["kind"] == "all-gather"]
    assert [each["arrays"] for each in gathered] == [[[64, HIDDEN]]] * 4
    assert {each["loops"] for each in gathered} == {0}
    others = [each for each in found if each["kind"] != "all-gather"]
    assert {each["kind"] for each in others} == {"all-reduce"}
    assert sum(each["loops"] == 1 for each in others) == 1 + 2 * 4  # as without


if __name__ == "__main__":
    built = RECURRENCES if why_unavailable() is None else ("scan",)
    found = {f"{how} {source}": collectives(how, source) for how, source in product(built, SOURCES)}
    found |= {
        f"carried {source}": collectives("scan", source, carried=True, rows=60)
        for source in SOURCES
    }
    print(json.dumps(found))
