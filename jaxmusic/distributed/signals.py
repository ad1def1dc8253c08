"""Asked to stop: SIGTERM and Ctrl-C, whatever a process is doing when they come."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Self

from jaxmusic.runtime.streams import flush_streams, is_terminal, terminal

STOPPING = (signal.SIGTERM, signal.SIGINT)
# Seconds in which Python has to take up a signal. Later than that it is inside a long call of
# JAX's, such as compiling, and a handler would not run before that ends.
PATIENCE = 2.0


def exit_code_of(number: int) -> int:
    """130 for Ctrl-C as shells have it; 75 (EX_TEMPFAIL: try again) for SIGTERM."""
    return 130 if number == signal.SIGINT else 75


class Stopped(Exception):  # noqa: N818 (not an error: all is saved)
    """Training ended early because of a signal, with everything saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As `exit_code_of` the signal."""
        return exit_code_of(self.number)


class Terminated(KeyboardInterrupt):
    """SIGTERM where nothing has to be saved first: handled as Ctrl-C is, but for its exit code."""


def signal_of(interrupt: type[BaseException]) -> signal.Signals:
    """The signal for which a KeyboardInterrupt, or a Terminated, was raised."""
    return signal.SIGTERM if issubclass(interrupt, Terminated) else signal.SIGINT


def raise_terminated(number: int, frame: FrameType | None) -> None:
    """A handler of SIGTERM."""
    raise Terminated


def _alone(number: int | None) -> Sequence[int | None]:
    return [number]


class StopSignals:
    """SIGTERM and Ctrl-C in a training, while it is entered.

    At first there is nothing to lose: a signal raises Terminated or KeyboardInterrupt, and where
    Python can't do that for a while the process just ends, with the same exit code. From `compile`
    on it just ends in any case, and from `defer` on a signal is only noted, for `poll` to tell of.
    Then a second Ctrl-C ends the process at once.

    Of several processes one is enough to stop them all, after the same step.
    """

    def __init__(self) -> None:
        # How all processes learn what each was asked; and what the others are told, with the exit
        # code, by one that ends without a word to `poll`.
        self._gather: Callable[[int | None], Sequence[int | None]] = _alone
        self._leave: Callable[[int], None] = lambda exit_code: None
        self._compiling = self._deferred = False
        self._number: int | None = None  # of the signal that this process got
        self._agreed: int | None = None  # that all processes stop
        self._before: dict[signal.Signals, Any] = {}
        self._answered = threading.Event()  # by Python
        self._wakes: tuple[int, int] | None = None  # of `signal.set_wakeup_fd`: the old one, ours

    def join(
        self,
        gather: Callable[[int | None], Sequence[int | None]],
        leave: Callable[[int], None],
    ) -> None:
        """There are other processes: `gather` a value of each; `leave` them, with an exit code."""
        self._gather, self._leave = gather, leave
        if self._before:  # what joined them may have set handlers of its own
            self._take(self._raise)

    def compile(self) -> None:
        """From now on JAX is at work: it takes minutes, maybe, and an exception might crash it."""
        self._compiling = True

    def defer(self) -> None:
        """From now on there is something to save: a signal is noted, for `poll`."""
        if self._before and not self._deferred:
            self._deferred = True
            self._take(self._note)

    def poll(self) -> int | None:
        """The signal that asks to stop, or None; all processes are to look equally often."""
        if self._agreed is None:
            asked = [number for number in self._gather(self._number) if number is not None]
            self._agreed = max(asked, default=None)
        return self._agreed

    def _take(self, handler: Callable[[int, FrameType | None], None]) -> None:
        for each in STOPPING:
            signal.signal(each, handler)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._compiling and self._wakes is not None:
            return  # the thread that watches ends the process
        self._answered.set()
        self._number = number  # for `poll`, should what is raised here be lost in some callback
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._answered.set()
        self._number = self._number or number

    def _watch(self, descriptor: int) -> None:
        """See each signal the moment it comes, whatever the main thread does."""
        asked = 0
        with os.fdopen(descriptor, "rb", buffering=0) as signals:
            while byte := signals.read(1):
                number = byte[0]
                if number not in STOPPING:
                    continue
                asked += 1
                again = asked > 1 and number == signal.SIGINT
                if again or not (self._deferred or self._is_raised()):
                    self._end(number)

    def _is_raised(self) -> bool:
        return not self._compiling and self._answered.wait(PATIENCE)

    def _end(self, number: int) -> None:
        exit_code = exit_code_of(number)
        if is_terminal():
            terminal().write("\x1b[?25h\n")  # of a bar, which hides the cursor
        print("Stopped at once." if self._deferred else "Stopped; nothing had to be saved.")
        self._leave(exit_code)
        flush_streams()
        os._exit(exit_code)

    def __enter__(self) -> Self:
        # Python lets no other thread set handlers; there the caller has to stop us its own way.
        if threading.current_thread() is threading.main_thread():
            if sys.platform != "win32":  # where a signal waits for the long call
                ours, theirs = os.pipe()
                os.set_blocking(theirs, False)
                self._wakes = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False), theirs
                threading.Thread(target=self._watch, args=(ours,), daemon=True).start()
            self._before = {each: signal.getsignal(each) for each in STOPPING}
            self._take(self._raise)
        return self

    def __exit__(self, *error: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}
        if self._wakes is not None:
            before, theirs = self._wakes
            signal.set_wakeup_fd(before)
            os.close(theirs)  # which ends the thread
