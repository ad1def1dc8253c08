"""How long a training is: in epochs, steps or minutes, or until the held-out loss stays."""

import time
from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh

from jaxmusic.config import ConfigError, TrainConfig
from jaxmusic.distributed.mesh import replicate
from jaxmusic.training.early_stopping import EarlyStopping
from jaxmusic.training.state import TrainState

MAX_STEPS = 2**31 - 1  # the devices count them in int32
# --minutes become a number of steps at the first moment when so much of the time is over, and an
# epoch has ended: its evaluation is then part of what a step takes, on average.
PLAN_SHARE = 0.05
# But at the latest here, as an epoch may be longer than the run.
LATEST_PLAN_SHARE = 0.2


class RunLength:
    """The steps of a training, and which of them are followed by an evaluation.

    With --minutes it is not known from the start how many steps there are. They are planned once,
    by the speed up to then, and lie in the checkpoint from then on: the learning rate is a function
    of the step and of that number, never of the clock, and a resumed run follows the same one.
    """

    def __init__(
        self,
        config: TrainConfig,
        steps_per_epoch: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError when the devices can't count the steps."""
        self.steps_per_epoch = steps_per_epoch
        self.minutes = config.minutes
        self.patience = config.patience
        # As far as it is known: without end until --minutes are planned.
        self.last_step = MAX_STEPS
        if config.minutes is None:
            self.last_step = config.epochs * steps_per_epoch
        if config.max_steps is not None:
            self.last_step = min(self.last_step, config.max_steps)
        if self.last_step > MAX_STEPS:
            raise ConfigError(
                f"--epochs {config.epochs} of {steps_per_epoch:,} steps are {self.last_step:,} "
                f"steps, but a run has {MAX_STEPS:,} at most: give fewer, or --max-steps."
            )
        self.is_planned = config.minutes is None
        # The last steps of such a run, with the smallest learning rates, give the best network.
        self._evaluates_end = config.needs_total_steps
        self._clock = clock
        self.why_early: str | None = None  # that the run ended early and why, as a sentence
        self._began = clock()
        self._first: tuple[int, float] | None = None  # steps and time when the program is compiled

    @property
    def words(self) -> str:
        """The length in words."""
        if self.minutes is not None and not self.is_planned:
            return f"{self.minutes:g} minutes in all"
        return f"{self.last_step:,} steps in all"

    @property
    def known_steps(self) -> int | None:
        """The number of steps; None: it is not known yet."""
        return self.last_step if self.is_planned or self.last_step < MAX_STEPS else None

    def ends_epoch(self, step: int) -> bool:
        """Whether an evaluation follows a step: the last one of an epoch, or of some runs."""
        last = self._evaluates_end and step == self.last_step
        return step > 0 and (step % self.steps_per_epoch == 0 or last)

    def steps_to_epoch_end(self, step: int) -> int:
        """Steps that are left of the epoch, or of the run."""
        left = self.steps_per_epoch - step % self.steps_per_epoch
        return min(left, self.last_step - step)

    def resume(self, step: int, state: TrainState, mesh: Mesh) -> TrainState:
        """Take up the plan of a state, or put the number of steps into it."""
        if state.total_steps is not None:
            planned = self.last_step if self.minutes is None else int(state.total_steps)
            state = self.set_plan(planned, state, mesh) if planned else state
        if state.early_stopping is not None:
            self._count_epochs(step, state.early_stopping)
        return state

    def start_clock(self) -> None:
        """--minutes begin."""
        self._began = self._clock()

    def plan(self, step: int) -> int | None:
        """The number of steps that --minutes have room for, once it can be told.

        Call it after each dispatch. Only one process asks, as clocks differ.
        """
        if self.minutes is None:
            return None
        now = self._clock()
        if self._first is None:  # until then it has compiled
            self._first = step, now
            return None
        share = (now - self._began) / (60 * self.minutes)
        if share < (PLAN_SHARE if step > self.steps_per_epoch else LATEST_PLAN_SHARE):
            return None
        first_step, first_time = self._first
        speed = (step - first_step) / max(now - first_time, 1e-9)
        seconds_left = 60 * self.minutes - (now - self._began)
        return min(step + max(0, round(speed * seconds_left)), self.last_step)

    def set_plan(self, planned: int, state: TrainState, mesh: Mesh) -> TrainState:
        """The state with the number of steps that was planned."""
        self.last_step = min(planned, self.last_step)
        self.is_planned = True
        return state._replace(total_steps=replicate(np.int32(self.last_step), mesh))

    def after_epoch(self, step: int, state: TrainState, loss: float, mesh: Mesh) -> TrainState:
        """The state with an epoch's held-out loss counted; the run may be over with it."""
        if state.early_stopping is None:
            return state
        after = state.early_stopping.after_epoch(loss)
        self._count_epochs(step, after)
        return state._replace(early_stopping=replicate(after, mesh))

    def _count_epochs(self, step: int, stopping: EarlyStopping) -> None:
        """End the run if the held-out loss has stayed for --patience epochs."""
        epochs = int(np.asarray(stopping.epochs))
        if self.patience is not None and epochs >= self.patience:
            self.last_step = step
            self.why_early = (
                f"Ended after step {step:,}: the held-out loss was lowest "
                f"({float(np.asarray(stopping.lowest)):.4f}) {epochs:,} epochs before "
                f"(--patience {self.patience})."
            )
