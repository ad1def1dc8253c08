"""The throughput of training."""

import time

FADE_SECONDS = 60.0


class ThroughputMeter:
    """Measures windows per second of training time, and the share of it spent waiting for data.

    Pauses (compiling, saving, evaluating) don't count. Older steps fade out over FADE_SECONDS.
    """

    def __init__(self) -> None:
        self._windows = 0.0
        self._seconds = 0.0
        self._waited = 0.0
        self._waiting = 0.0  # since the last count
        self._since: float | None = None  # None: paused

    def pause(self) -> None:
        """Stop the clock until `resume` or the next `count`."""
        self._since = None

    def resume(self) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def add_wait(self, seconds: float) -> None:
        """Add time during which the devices were idle for want of data."""
        self._waiting += seconds

    def count(self, windows: int) -> None:
        """Count the windows of finished steps. After a pause this only starts the clock."""
        now = time.monotonic()
        if self._since is not None:
            seconds = now - self._since
            fade = max(0.0, 1 - seconds / FADE_SECONDS)
            self._windows = self._windows * fade + windows
            self._seconds = self._seconds * fade + seconds
            self._waited = self._waited * fade + self._waiting
        self._waiting = 0.0
        self._since = now

    @property
    def windows_per_second(self) -> float | None:
        """None until two dispatches have finished."""
        return self._windows / self._seconds if self._seconds > 0 else None

    @property
    def data_wait(self) -> float | None:
        """Upper bound of the share of time in which the devices waited for data."""
        return self._waited / self._seconds if self._seconds > 0 else None
