"""Tunes the steps of a dispatch: enough to hide its own cost, few enough to keep it short."""

PROBE_STEPS = 4  # dispatched one by one, to measure a step
DISPATCH_SECONDS = 0.1


class DispatchTuner:
    """Chooses the steps of each dispatch: `fixed` by the user, or measured on the first steps."""

    def __init__(self, first_step: int, max_steps: int, fixed: int | None = None) -> None:
        self.steps = min(fixed or 1, max_steps)
        self._max_steps = max_steps
        self._measured_at = None if fixed or max_steps == 1 else first_step + PROBE_STEPS

    def is_measured_after(self, step: int) -> bool:
        """Whether to call `tune` after this step, once all steps so far have finished."""
        return step == self._measured_at

    def tune(self, windows_per_second: float | None, batch_size: int) -> None:
        """Set the steps that fill DISPATCH_SECONDS at this speed; None: it is unknown."""
        if windows_per_second is not None:
            steps = round(DISPATCH_SECONDS * windows_per_second / batch_size)
            self.steps = min(self._max_steps, max(1, steps))
