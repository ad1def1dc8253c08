"""Hooks: what a caller of `fit` does at moments of a training."""

from collections.abc import Sequence
from typing import Literal

import jax

# In the order of a training. "ending": all steps are done, and the best checkpoint is read.
Phase = Literal["preparing", "restoring", "compiling", "evaluating", "ending"]


class Hook:
    """Override the methods for the moments of interest; the others do nothing.

    `step` is always the number of steps done. What a hook raises ends the training.
    """

    def on_phase(self, phase: Phase, step: int) -> None:
        """A phase begins. Between `compiling` and `ending` the training steps."""

    def after_steps(self, step: int, losses: jax.Array) -> None:
        """Some steps were dispatched; the devices may still compute their `losses` (capacity,)."""

    def after_epoch(self, step: int, metrics: dict[str, float]) -> None:
        """An epoch ended: its `epoch_loss`, and the metrics of held-out songs by name."""

    def before_save(self, step: int) -> None:
        """A checkpoint will be saved (in process 0, which saves)."""

    def after_save(self, step: int) -> None:
        """A checkpoint is being written in the background (in process 0)."""


class Hooks(Hook):
    """Calls several hooks, one after the other."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = tuple(hooks)

    def on_phase(self, phase: Phase, step: int) -> None:
        """As in Hook."""
        for hook in self._hooks:
            hook.on_phase(phase, step)

    def after_steps(self, step: int, losses: jax.Array) -> None:
        """As in Hook."""
        for hook in self._hooks:
            hook.after_steps(step, losses)

    def after_epoch(self, step: int, metrics: dict[str, float]) -> None:
        """As in Hook."""
        for hook in self._hooks:
            hook.after_epoch(step, metrics)

    def before_save(self, step: int) -> None:
        """As in Hook."""
        for hook in self._hooks:
            hook.before_save(step)

    def after_save(self, step: int) -> None:
        """As in Hook."""
        for hook in self._hooks:
            hook.after_save(step)
