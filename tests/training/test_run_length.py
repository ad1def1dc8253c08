"""The length of a training, by clocks that the tests move."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxmusic.config import ConfigError, TrainConfig
from jaxmusic.distributed.mesh import make_mesh
from jaxmusic.training.compensated import CompensatedSum
from jaxmusic.training.early_stopping import EarlyStopping
from jaxmusic.training.run_length import MAX_STEPS, RunLength
from jaxmusic.training.state import TrainState


def make_state(train: TrainConfig) -> TrainState:
    """What a length needs of a state, before the first step."""
    nothing = CompensatedSum(jnp.float32(0), jnp.float32(0))
    return TrainState(
        jnp.int32(0), {}, {}, (), nothing, nothing,
        total_steps=jnp.int32(0) if train.needs_total_steps else None,
        early_stopping=EarlyStopping.start() if train.patience is not None else None,
    )  # fmt: skip


def after_restart(state: TrainState) -> TrainState:
    """As a checkpoint holds it."""
    restored: dict[str, Any] = jax.device_get(state.to_dict())
    return TrainState(**restored)


@pytest.mark.parametrize(
    ("train", "steps"),
    [
        (TrainConfig(epochs=3), 30),
        (TrainConfig(epochs=3, max_steps=24), 24),
        (TrainConfig(epochs=3, max_steps=99), 30),
        (TrainConfig(minutes=2), None),
        (TrainConfig(minutes=2, max_steps=99), 99),
    ],
)
def test_the_steps_follow_from_the_settings(train: TrainConfig, steps: int | None) -> None:
    assert RunLength(train, 10).known_steps == steps


@pytest.mark.raises_at("jaxmusic/training/run_length.py:__init__", "steps, but a run has")
def test_more_steps_than_the_devices_count_are_refused() -> None:
    with pytest.raises(ConfigError, match="--epochs 2 of 2,000,000,000 steps .* 2,147,483,647 at"):
        RunLength(TrainConfig(epochs=2), 2 * 10**9)
    assert RunLength(TrainConfig(epochs=2, max_steps=5), 2 * 10**9).last_step == 5


def test_an_evaluation_follows_each_epoch_and_the_end_of_a_cosine() -> None:
    constant = RunLength(TrainConfig(epochs=3, max_steps=25), 10)
    assert [step for step in range(26) if constant.ends_epoch(step)] == [10, 20]
    cosine = RunLength(TrainConfig(epochs=3, max_steps=25, schedule="cosine"), 10)
    assert [step for step in range(26) if cosine.ends_epoch(step)] == [10, 20, 25]
    assert [cosine.steps_to_epoch_end(step) for step in (0, 7, 10, 20, 23)] == [10, 3, 10, 5, 2]


def test_a_schedules_steps_are_those_of_the_settings_now() -> None:
    """When a run goes on with more epochs, its schedule is as long as they are."""
    mesh = make_mesh(1)
    state = make_state(TrainConfig(schedule="cosine"))
    for epochs in (3, 5):
        length = RunLength(TrainConfig(epochs=epochs, schedule="cosine"), 10)
        state = after_restart(length.resume(0, state, mesh))
        assert state.total_steps == epochs * 10
    state = make_state(TrainConfig())
    assert RunLength(TrainConfig(), 10).resume(0, state, mesh) is state


def planned(minutes: float, steps_per_epoch: int, times: list[float]) -> tuple[int, int | None]:
    """After how many steps the plan is made, and what it is, at steps that end at these times."""
    now = [0.0]
    train = TrainConfig(minutes=minutes)
    length = RunLength(train, steps_per_epoch, clock=lambda: now[0])
    length.start_clock()
    for step, time in enumerate(times, 1):
        now[0] = time
        if (found := length.plan(step)) is not None:
            return step, found
    return len(times), None


def test_minutes_are_planned_after_the_first_epoch() -> None:
    """Compiling takes 5 s, then 1 s a step, with 2 s for an evaluation after each third."""
    times = [5.0 + step + 2 * (step // 3) for step in range(60)]
    step, steps = planned(2.0, 3, times)
    assert step == 4  # one evaluation is in the mean then: 5 s for 3 steps
    assert steps == 4 + round((120 - 10) / (5 / 3))


def test_a_long_epoch_does_not_put_the_plan_off() -> None:
    times = [5.0 + step for step in range(60)]
    step, steps = planned(2.0, 1000, times)
    assert step == 20 and times[19] == 24.0  # a fifth of 120 s
    assert steps == 116  # 5 s + 115 s


def test_minutes_that_are_over_end_the_run_at_once() -> None:
    assert planned(1.0, 10, [50.0, 70.0]) == (2, 2)


def test_a_plan_is_kept_by_the_state() -> None:
    train, mesh = TrainConfig(minutes=2), make_mesh(1)
    length = RunLength(train, 10)
    state = length.resume(0, make_state(train), mesh)
    assert (length.last_step, length.is_planned) == (MAX_STEPS, False)
    assert state.total_steps == 0
    assert length.words == "2 minutes in all"
    state = after_restart(length.set_plan(33, state, mesh))
    again = RunLength(train, 10)
    state = again.resume(12, state, mesh)
    assert (again.last_step, again.is_planned) == (33, True)
    assert state.total_steps == 33
    assert again.words == "33 steps in all" and again.ends_epoch(33)


def test_patience_counts_epochs_without_a_lower_loss() -> None:
    train, mesh = TrainConfig(epochs=20, patience=2), make_mesh(1)
    length = RunLength(train, 10)
    state = length.resume(0, make_state(train), mesh)
    losses = [3.0, 2.0, float("nan"), 1.5, 1.5, 1.75]
    for epoch, loss in enumerate(losses, 1):
        assert length.last_step == 200 and length.why_early is None
        state = length.after_epoch(10 * epoch, state, loss, mesh)
        state = after_restart(state)
    assert length.last_step == 60
    assert length.why_early == (
        "Ended after step 60: the held-out loss was lowest (1.5000) 2 epochs before (--patience 2)."
    )
    again = RunLength(train, 10)
    again.resume(60, state, mesh)
    assert again.last_step == 60 and again.why_early == length.why_early
