"""Asked to stop."""

import os
import signal
import threading

import pytest

from jaxmusic.signals import Stopped, StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_only_noted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert stop.look() is None
        os.kill(os.getpid(), number)
        assert stop.look() == number
        assert signal.getsignal(number) is signal.SIG_DFL  # the next one ends the process
    assert signal.getsignal(number) is before


def test_exit_codes() -> None:
    assert Stopped(signal.SIGTERM).exit_code == 75
    assert Stopped(signal.SIGINT).exit_code == 130


def test_other_threads_leave_the_signals_alone() -> None:
    seen = []

    def enter() -> None:
        with StopSignals() as stop:
            seen.append(stop.look())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [None]
