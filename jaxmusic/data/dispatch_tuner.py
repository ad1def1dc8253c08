"""How many steps a dispatch has: so many that its own costs don't show, so few that it is short."""

PROBE_STEPS = 4  # dispatched one by one, to learn how long a step takes
DISPATCH_SECONDS = 0.1


class DispatchTuner:
    """Steps of each dispatch of a training; `given` by the user, or learnt from the first steps."""

    def __init__(self, first_step: int, most_steps: int, given: int | None = None) -> None:
        self.steps = min(given or 1, most_steps)
        self._most = most_steps
        self._learns_at = None if given or most_steps == 1 else first_step + PROBE_STEPS

    def is_measured_after(self, step: int) -> bool:
        """Whether `learn` is to be called after that step, once all so far have ended."""
        return step == self._learns_at

    def tune(self, windows_per_second: float | None, batch_size: int) -> None:
        """Take so many steps as fill a dispatch's time at that speed; None: it isn't known."""
        if windows_per_second is not None:
            steps = round(DISPATCH_SECONDS * windows_per_second / batch_size)
            self.steps = min(self._most, max(1, steps))
