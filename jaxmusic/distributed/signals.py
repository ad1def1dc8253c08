"""SIGTERM and Ctrl-C, whatever a process is doing when it receives them."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Self

from jaxmusic.runtime.streams import flush_streams, is_terminal, terminal

STOPPING = (signal.SIGTERM, signal.SIGINT)
# Seconds in which a Python handler must run. Otherwise the process is inside a long call of JAX,
# such as compiling, and no handler runs before that returns.
HANDLER_SECONDS = 2.0


def exit_code_of(number: int) -> int:
    """130 for Ctrl-C, as in shells; 75 (EX_TEMPFAIL: try again) for SIGTERM."""
    return 130 if number == signal.SIGINT else 75


class Stopped(Exception):  # noqa: N818 (not an error: all is saved)
    """A signal ended training early; everything is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """See `exit_code_of`."""
        return exit_code_of(self.number)


class Terminated(KeyboardInterrupt):
    """SIGTERM when nothing has to be saved: like Ctrl-C, with another exit code."""


def signal_of(interrupt: type[BaseException]) -> signal.Signals:
    """The signal that raised a KeyboardInterrupt or Terminated."""
    return signal.SIGTERM if issubclass(interrupt, Terminated) else signal.SIGINT


def raise_terminated(number: int, frame: FrameType | None) -> None:
    """A handler of SIGTERM."""
    raise Terminated


def _alone(number: int | None) -> Sequence[int | None]:
    return [number]


class StopSignals:
    """Handles SIGTERM and Ctrl-C during training, in three states.

    1. At first a signal raises Terminated or KeyboardInterrupt; if Python can't do that for a
       while, the process exits with the same exit code.
    2. After `exit_at_once` a signal ends the process in any case: an exception might crash JAX.
    3. After `defer` the first signal is only recorded, for `poll`. A second Ctrl-C exits at once.

    A signal to one of several processes stops all of them after the same step.
    """

    def __init__(self) -> None:
        # Exchange signals between processes; end the others when this one exits at once.
        self._gather: Callable[[int | None], Sequence[int | None]] = _alone
        self._leave: Callable[[int], None] = lambda exit_code: None
        self._exits = self._deferred = False
        self._number: int | None = None  # the signal of this process
        self._agreed: int | None = None  # the signal that stops all processes
        self._before: dict[signal.Signals, Any] = {}
        self._answered = threading.Event()  # by a Python handler
        self._wakes: tuple[int, int] | None = None  # wake-up descriptors: old, ours

    def join(
        self,
        gather: Callable[[int | None], Sequence[int | None]],
        leave: Callable[[int], None],
    ) -> None:
        """Add other processes: `gather` a value of each; `leave` ends them with an exit code."""
        self._gather, self._leave = gather, leave
        if self._before:  # connecting them may have set other handlers
            self._install(self._raise)

    def exit_at_once(self) -> None:
        """From now on a signal ends the process: JAX compiles, perhaps for minutes."""
        self._exits = True

    def defer(self) -> None:
        """From now on there is something to save: record signals for `poll`."""
        if self._before and not self._deferred:
            self._deferred = True
            self._install(self._record)

    def poll(self) -> int | None:
        """Return the signal that asks to stop, or None; call it equally often in all processes."""
        if self._agreed is None:
            asked = [number for number in self._gather(self._number) if number is not None]
            self._agreed = max(asked, default=None)
        return self._agreed

    def _install(self, handler: Callable[[int, FrameType | None], None]) -> None:
        for each in STOPPING:
            signal.signal(each, handler)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._exits and self._wakes is not None:
            return  # the watching thread ends the process
        self._answered.set()
        self._number = number  # for `poll`, if the exception is lost in a callback
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def _record(self, number: int, frame: FrameType | None) -> None:
        self._answered.set()
        self._number = self._number or number

    def _watch(self, descriptor: int) -> None:
        """Receive each signal at once, whatever the main thread does."""
        received = 0
        with os.fdopen(descriptor, "rb", buffering=0) as signals:
            while byte := signals.read(1):
                number = byte[0]
                if number not in STOPPING:
                    continue
                received += 1
                again = received > 1 and number == signal.SIGINT
                if again or not (self._deferred or self._is_raised()):
                    self._end(number)

    def _is_raised(self) -> bool:
        return not self._exits and self._answered.wait(HANDLER_SECONDS)

    def _end(self, number: int) -> None:
        exit_code = exit_code_of(number)
        if is_terminal():
            terminal().write("\x1b[?25h\n")  # show the cursor, which a progress bar hides
        print("Stopped at once." if self._deferred else "Stopped; nothing had to be saved.")
        self._leave(exit_code)
        flush_streams()
        os._exit(exit_code)

    def __enter__(self) -> Self:
        # Only the main thread can set handlers; elsewhere the caller has to stop us another way.
        if threading.current_thread() is threading.main_thread():
            if sys.platform != "win32":  # where no signal interrupts a long call
                ours, theirs = os.pipe()
                os.set_blocking(theirs, False)
                self._wakes = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False), theirs
                threading.Thread(target=self._watch, args=(ours,), daemon=True).start()
            self._before = {each: signal.getsignal(each) for each in STOPPING}
            self._install(self._raise)
        return self

    def __exit__(self, *error: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}
        if self._wakes is not None:
            before, theirs = self._wakes
            signal.set_wakeup_fd(before)
            os.close(theirs)  # which ends the thread
