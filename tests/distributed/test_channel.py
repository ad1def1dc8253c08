"""Messages between processes: here between threads."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jaxmusic.distributed import channel
from jaxmusic.distributed.channel import Channel

PATIENCE = 60.0  # seconds until a test counts as hanging


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


class Ends:
    """All ends of a channel, and the lost processes that each was notified of."""

    def __init__(self, count: int) -> None:
        self.lost: list[list[tuple[str, int]]] = [[] for _ in range(count)]
        self._lost_one = [threading.Event() for _ in range(count)]
        pairs = {index: tcp_pair() for index in range(1, count)}
        peers = [{index: pair[0] for index, pair in pairs.items()}]
        peers += [{0: pairs[index][1]} for index in range(1, count)]
        self.channels = [
            Channel(index, count, own, self._noting(index)) for index, own in enumerate(peers)
        ]

    def _noting(self, index: int) -> Callable[[str, int], None]:
        def note(reason: str, exit_code: int) -> None:
            self.lost[index].append((reason, exit_code))
            self._lost_one[index].set()

        return note

    def wait_until_lost(self, indices: list[int]) -> None:
        for index in indices:
            assert self._lost_one[index].wait(PATIENCE)

    def gather(self, values: list[Any]) -> list[Any]:
        """What each process receives when all give their values."""
        received: list[Any] = [None] * len(values)

        def give(index: int) -> None:
            received[index] = self.channels[index].gather(values[index])

        threads = [threading.Thread(target=give, args=(index,)) for index in range(len(values))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        return received

    def disconnect(self, index: int) -> None:
        """As the system does for a process that was killed."""
        self.channels[index]._leaving = True
        for connection in self.channels[index]._peers.values():
            connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[threading.Thread]]:
    """The threads that the ends of a channel receive in."""
    started: list[threading.Thread] = []
    receive = Channel._receive

    def noted(self: Channel, peer: int) -> None:
        started.append(threading.current_thread())
        receive(self, peer)

    monkeypatch.setattr(Channel, "_receive", noted)
    yield started


@pytest.mark.parametrize("count", [2, 4])
def test_all_receive_what_each_gave(count: int) -> None:
    ends = Ends(count)
    for turn in range(3):
        values = [{"process": index, "turn": turn} for index in range(count)]
        assert ends.gather(values) == [values] * count
    assert not any(ends.lost)


@pytest.mark.parametrize("gone", [0, 2])
def test_a_process_that_is_gone_is_reported_by_all_others(gone: int) -> None:
    ends = Ends(3)
    ends.disconnect(gone)
    others = [index for index in range(3) if index != gone]
    ends.wait_until_lost(others)
    for index in others:
        assert ends.lost[index] == [(f"Process {gone} of 3 is gone", 1)]


@pytest.mark.parametrize("failed", [0, 2])
def test_the_reason_of_a_failure_is_reported_by_all_others(failed: int) -> None:
    ends = Ends(3)
    ends.channels[failed].fail("failed: --window 9 is wrong.", 2)
    others = [index for index in range(3) if index != failed]
    ends.wait_until_lost(others)
    for index in others:
        assert ends.lost[index] == [(f"Process {failed} of 3 failed: --window 9 is wrong.", 2)]
    assert not ends.lost[failed]


def test_a_closed_channel_is_not_a_loss(receivers: list[threading.Thread]) -> None:
    ends = Ends(3)
    for end in ends.channels:
        end.close()
    for thread in receivers:
        thread.join(PATIENCE)  # each has received the good-bye
        assert not thread.is_alive()
    assert not any(ends.lost)


@pytest.mark.slow
def test_a_frozen_process_is_lost_and_a_silent_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 1 has nothing to say but sends heartbeats; process 2 sends none."""
    beats = threading.Event()
    send = Channel._send

    def counted(self: Channel, message: dict[str, Any], skip: int | None = None) -> None:
        if self.index == 1 and "alive" in message:
            beats.set()
        send(self, message, skip)

    monkeypatch.setattr(Channel, "_send", counted)
    monkeypatch.setattr(channel, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(channel, "TIMEOUT_SECONDS", 2.0)
    ends = Ends(3)
    assert beats.wait(PATIENCE) and not any(ends.lost)
    ends.channels[2]._closed.set()  # as if it were frozen
    ends.wait_until_lost([0, 1])
    for index in (0, 1):
        assert ends.lost[index] == [("Process 2 of 3 has not responded for 2 seconds", 1)]
