"""Asked to stop."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from jaxmusic.distributed.signals import Stopped, StopSignals, Terminated

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@BOTH
def test_before_there_is_anything_to_save_a_signal_is_raised(number: signal.Signals) -> None:
    expected = KeyboardInterrupt if number == signal.SIGINT else Terminated
    before = signal.getsignal(number)
    with StopSignals(), pytest.raises(KeyboardInterrupt) as raised:
        os.kill(os.getpid(), number)
        signal.pause()
    assert raised.type is expected
    assert signal.getsignal(number) is before


@BOTH
def test_afterwards_the_first_signal_is_only_noted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        stop.defer()
        assert stop.poll() is None
        os.kill(os.getpid(), number)
        assert stop.poll() == number
        os.kill(os.getpid(), signal.SIGTERM)  # some send it twice
        assert stop.poll() == number
    assert signal.getsignal(number) is before


def test_all_processes_stop_for_one_of_them() -> None:
    asked = [None, None, signal.SIGINT]
    with StopSignals() as stop:
        stop.join(lambda number: [number, *asked], lambda exit_code: None)
        stop.defer()
        assert stop.poll() == signal.SIGINT
        stop.join(lambda number: [None], lambda exit_code: None)
        assert stop.poll() == signal.SIGINT  # once agreed it stays so


def test_exit_codes() -> None:
    assert Stopped(signal.SIGTERM).exit_code == 75
    assert Stopped(signal.SIGINT).exit_code == 130


def test_other_threads_leave_the_signals_alone() -> None:
    seen = []

    def enter() -> None:
        with StopSignals() as stop:
            stop.defer()
            seen.append(stop.poll())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [None]


# As long as compiling, and like it one call of C, without Python's lock: a handler of Python's has
# to wait for its end.
LONG_CALL = """
import hashlib, signal, sys, threading
from jaxmusic.distributed.signals import StopSignals
with StopSignals() as stop:
    stop.join(lambda number: [number], lambda exit_code: print("left with", exit_code))
    if sys.argv[1] == "asked already":
        stop.defer()
        signal.raise_signal(signal.SIGTERM)
    # Told only when the call has begun: a signal before it would find Python at work.
    threading.Timer(0.5, print, ["begins"], {"flush": True}).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    print("ends")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "number", "code", "said"),
    [
        ("new", signal.SIGTERM, 75, "Stopped; nothing had to be saved."),
        ("new", signal.SIGINT, 130, "Stopped; nothing had to be saved."),
        ("asked already", signal.SIGINT, 130, "Stopped at once."),
    ],
)
def test_a_signal_in_a_long_call_does_not_wait_for_its_end(
    state: str, number: signal.Signals, code: int, said: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LONG_CALL, state], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        process.send_signal(number)
        output = process.stdout.read()
    assert process.returncode == code
    assert output == f"{said}\nleft with {code}\n"
