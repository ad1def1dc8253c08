"""Words between processes: here between threads."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from jaxmusic.distributed.channel import Channel
from jaxmusic.distributed.rendezvous import Hello, Rendezvous, call


class Ends:
    """All ends of a channel, and what each was told of processes that are gone."""

    def __init__(self, count: int) -> None:
        self.lost: list[list[tuple[str, int]]] = [[] for _ in range(count)]
        listener = socket.create_server(("localhost", 0))
        host, port = listener.getsockname()[:2]
        channels: dict[int, Channel] = {}

        def note(index: int) -> Callable[[str, int], None]:
            return lambda reason, code: self.lost[index].append((reason, code))

        def hello(index: int) -> Hello:
            return Hello(index, count, "a training", {})

        def join(index: int) -> None:
            connection, _ = call(host, port, hello(index), 30)
            channels[index] = Channel(index, count, {0: connection}, note(index))

        callers = [threading.Thread(target=join, args=(index,)) for index in range(1, count)]
        for caller in callers:
            caller.start()
        rendezvous = Rendezvous(listener, hello(0), None)
        channels[0] = Channel(0, count, rendezvous.wait(30), note(0))
        for caller in callers:
            caller.join()
        rendezvous.close()
        self.channels = [channels[index] for index in range(count)]

    def gather(self, values: list[Any]) -> list[Any]:
        """What each process hears when all give their values."""
        heard: list[Any] = [None] * len(values)

        def give(index: int) -> None:
            heard[index] = self.channels[index].gather(values[index])

        threads = [threading.Thread(target=give, args=(index,)) for index in range(len(values))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return heard

    def cut(self, index: int) -> None:
        """As the system does for a process that ends, which itself says nothing any more."""
        self.channels[index]._leaving = True
        for connection in self.channels[index]._peers.values():
            connection.shutdown(socket.SHUT_RDWR)


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("count", [2, 4])
def test_all_hear_what_each_gave(count: int) -> None:
    ends = Ends(count)
    for turn in range(3):
        values = [{"process": index, "turn": turn} for index in range(count)]
        assert ends.gather(values) == [values] * count
    assert not any(ends.lost)


@pytest.mark.parametrize("gone", [0, 2])
def test_a_process_that_is_gone_is_told_by_all_others(gone: int) -> None:
    ends = Ends(3)
    ends.cut(gone)
    others = [index for index in range(3) if index != gone]
    soon(lambda: all(ends.lost[index] for index in others))
    for index in others:
        assert ends.lost[index] == [(f"Process {gone} of 3 is gone", 1)]


@pytest.mark.parametrize("failed", [0, 2])
def test_a_process_that_fails_says_why_to_all_others(failed: int) -> None:
    ends = Ends(3)
    ends.channels[failed].fail("failed: --window 9 is wrong.", 2)
    others = [index for index in range(3) if index != failed]
    soon(lambda: all(ends.lost[index] for index in others))
    for index in others:
        assert ends.lost[index] == [(f"Process {failed} of 3 failed: --window 9 is wrong.", 2)]
    assert not ends.lost[failed]


def test_a_good_bye_is_no_loss() -> None:
    ends = Ends(3)
    for channel in ends.channels:
        channel.close()
    for index in range(3):
        ends.cut(index)
    time.sleep(0.1)
    assert not any(ends.lost)


def test_a_process_without_a_sign_of_life_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxmusic.distributed.channel.SIGN_SECONDS", 0.05)
    monkeypatch.setattr("jaxmusic.distributed.channel.SILENCE_SECONDS", 1.0)
    ends = Ends(3)
    time.sleep(1.5)
    assert not any(ends.lost)  # they have nothing to say, but live
    ends.channels[2]._closed.set()  # as if it were frozen
    soon(lambda: all(ends.lost[index] for index in (0, 1)))
    for index in (0, 1):
        assert ends.lost[index] == [("Process 2 of 3 has given no sign of life for 1 seconds", 1)]
