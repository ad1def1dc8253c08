"""Asked to stop: SIGTERM and Ctrl-C as a flag that the training loop looks at."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Stopped(Exception):  # noqa: N818 (not an error: all is saved)
    """Training ended early because of a signal, with everything saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C as shells have it; 75 (EX_TEMPFAIL: try again) for SIGTERM."""
        return 130 if self.number == signal.SIGINT else 75


class Terminated(KeyboardInterrupt):
    """SIGTERM where nothing has to be saved first: handled as Ctrl-C is, but for its exit code."""

    exit_code = 75


def raise_terminated(number: int, frame: FrameType | None) -> None:
    """A handler of SIGTERM."""
    raise Terminated


class StopSignals:
    """While it is entered, a first SIGTERM or SIGINT is only noted; a second Ctrl-C kills.

    Of several processes one is enough to stop them all, after the same step: JAX's own handler
    of SIGTERM (which a handler of ours would disable) tells the others.
    """

    def __init__(self, *, several_processes: bool = False) -> None:
        self._several = several_processes
        self._number: int | None = None  # of the signal that this process got
        self._agreed: int | None = None  # that all processes stop
        self._looks = 0
        self._before: dict[signal.Signals, Any] = {}

    def look(self) -> int | None:
        """The signal that asks to stop, or None; all processes are to look equally often."""
        if not self._several:
            return self._number
        if self._agreed:
            return self._agreed
        from jax.experimental.multihost_utils import reached_preemption_sync_point  # noqa: PLC0415

        self._looks += 1
        if not reached_preemption_sync_point(self._looks):
            return None
        self._agreed = self._number or signal.SIGTERM
        return self._agreed

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        if self._several:
            signal.raise_signal(signal.SIGTERM)

    def __enter__(self) -> Self:
        # Python lets no other thread set handlers; there the caller has to stop us its own way.
        if threading.current_thread() is threading.main_thread():
            caught = (signal.SIGINT,) if self._several else (signal.SIGTERM, signal.SIGINT)
            for each in caught:
                self._before[each] = signal.signal(each, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
