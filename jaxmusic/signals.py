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


class StopSignals:
    """While it is entered, a first SIGTERM or SIGINT only sets `number`; a second one kills."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)

    def __enter__(self) -> Self:
        # Python lets no other thread set handlers; there the caller has to stop us its own way.
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGINT):
                self._before[each] = signal.signal(each, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
