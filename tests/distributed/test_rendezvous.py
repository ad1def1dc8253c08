"""How processes find each other: here threads, with strangers among them."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from jaxmusic.distributed import rendezvous
from jaxmusic.distributed.rendezvous import Hello, ProcessError, Rendezvous, connect, disagreement

JOB = "--run-dir runs/a"
PATIENCE = 60.0  # seconds until a test counts as hanging


def hello(process: int, count: int = 3, job: str = JOB, **values: Any) -> Hello:
    return Hello(process, count, job, {"window": 10, **values})


class Meeting:
    """Process 0, and those who connect to it."""

    def __init__(self, pool: ThreadPoolExecutor, count: int = 3, waits: bool = True):
        listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = listener.getsockname()
        self.rendezvous = Rendezvous(listener, hello(0, count), {"port": 5})
        if waits:
            self.first = pool.submit(self.rendezvous.wait, PATIENCE)
        self.pool = pool

    def process(self, said: Hello, seconds: float = PATIENCE) -> Future[tuple[socket.socket, Any]]:
        return self.pool.submit(connect, *self.address, said, seconds)

    def stranger(self, says: bytes = b"") -> socket.socket:
        connection = socket.create_connection(self.address, timeout=PATIENCE)
        connection.sendall(says)
        return connection

    def wait_for_callers(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while (
            sum(each.process is not None for each in list(self.rendezvous._callers.values()))
            != count
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def meet() -> Iterator[Callable[..., Meeting]]:
    meetings = []

    def start(**given: Any) -> Meeting:
        meetings.append(Meeting(pool, **given))
        return meetings[-1]

    with ThreadPoolExecutor(16) as pool:
        yield start
        for meeting in meetings:
            meeting.rendezvous.close("the test is over")


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side disconnects without a message."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_processes_may_start_in_any_order(meet: Callable[..., Meeting]) -> None:
    meeting = meet(count=4)
    callers = {index: meeting.process(hello(index, 4)) for index in (3, 1, 2)}
    members = meeting.first.result(PATIENCE)
    assert members.keys() == {1, 2, 3}
    for index, caller in callers.items():
        connection, welcome = caller.result(PATIENCE)
        assert welcome == {"port": 5}
        members[index].sendall(bytes([index]))  # it is the connection of that very process
        assert connection.recv(1) == bytes([index])
        connection.close()


def test_process_0_may_start_last() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(connect, address[0], address[1], hello(1, 2), PATIENCE)
        time.sleep(0.1)
        first = Rendezvous(socket.create_server(address), hello(0, 2), "welcome")
        first.wait(PATIENCE)
        connection, welcome = caller.result(PATIENCE)
        connection.close()
        first.close()
    assert welcome == "welcome"


STRANGERS = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\xff\xfe\n", b"\n",
    b"null\n", b"[1]\n", b"{}\n", b"[" * 10_000 + b"\n", b"x" * 70_000, b"1" * 5000 + b"\n",
    json.dumps({"process": True, "count": 3, "job": JOB, "values": {}}).encode() + b"\n",
    json.dumps({"process": 1, "count": 3, "job": JOB, "values": []}).encode() + b"\n",
    json.dumps({"process": 3, "count": 3, "job": JOB, "values": {}}).encode() + b"\n",
    json.dumps({"process": -1, "count": 3, "job": JOB, "values": {}}).encode() + b"\n",
]  # fmt: skip


def test_strangers_are_dropped_and_delay_nobody(
    meet: Callable[..., Meeting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "HELLO_SECONDS", 600.0)
    meeting = meet()
    silent = [meeting.stranger() for _ in range(20)]
    half = meeting.stranger(hello(1).line()[:-5])
    for says in STRANGERS:
        try:
            with meeting.stranger(says) as stranger:
                if says.endswith(b"\n"):
                    assert is_closed(stranger), says
        except (ConnectionResetError, BrokenPipeError):  # dropped while it was speaking
            pass
    callers = [meeting.process(hello(index)) for index in (1, 2)]
    assert meeting.first.result(PATIENCE).keys() == {1, 2}
    for each in (*silent, half, *(caller.result(PATIENCE)[0] for caller in callers)):
        each.close()


def test_a_silent_connection_is_dropped(
    meet: Callable[..., Meeting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "HELLO_SECONDS", 0.3)
    meeting = meet()
    caller = meeting.process(hello(1))
    with meeting.stranger() as silent, meeting.stranger(b'{"process":') as slow:
        assert is_closed(silent) and is_closed(slow)
    caller_2 = meeting.process(hello(2))  # but who waits is not
    assert meeting.first.result(PATIENCE).keys() == {1, 2}
    for each in (caller, caller_2):
        each.result(PATIENCE)[0].close()


def test_of_too_many_silent_ones_the_oldest_are_dropped(
    meet: Callable[..., Meeting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "MAX_STRANGERS", 4)
    monkeypatch.setattr(rendezvous, "HELLO_SECONDS", 600.0)
    meeting = meet(count=2)
    silent = [meeting.stranger() for _ in range(12)]
    assert all(is_closed(each) for each in silent[:8])
    meeting.process(hello(1, 2)).result(PATIENCE)[0].close()
    assert meeting.first.result(PATIENCE).keys() == {1}
    for each in silent:
        each.close()


@pytest.mark.raises_at("jaxmusic/distributed/rendezvous.py:_introduce", "refused")
def test_another_training_is_refused_at_any_time(meet: Callable[..., Meeting]) -> None:
    meeting = meet(count=2)
    words = r"Another training \(--run-dir runs/a; this one is --run-dir runs/b\) listens there: "
    for _ in range(2):
        for said in (hello(1, 2, job="--run-dir runs/b"), hello(4, 9, job="--run-dir runs/b")):
            with pytest.raises(ProcessError, match=words):
                meeting.process(said).result(PATIENCE)
        if not meeting.first.done():
            meeting.process(hello(1, 2)).result(PATIENCE)[0].close()
            meeting.first.result(PATIENCE)


def test_the_same_process_twice_is_refused_at_any_time(meet: Callable[..., Meeting]) -> None:
    meeting = meet()
    first = meeting.process(hello(1))
    meeting.wait_for_callers(1)
    for index in (0, 1):
        with pytest.raises(ProcessError, match=f"Process {index} of this training is already the"):
            meeting.process(hello(index)).result(PATIENCE)
    second = meeting.process(hello(2))
    assert meeting.first.result(PATIENCE).keys() == {1, 2}
    for index in (0, 1, 2):
        with pytest.raises(ProcessError, match=f"Process {index} of this training is already the"):
            meeting.process(hello(index)).result(PATIENCE)
    for each in (first, second):
        each.result(PATIENCE)[0].close()


def test_a_process_that_ends_while_waiting_may_start_again(meet: Callable[..., Meeting]) -> None:
    meeting = meet(count=3)
    meeting.stranger(hello(1).line()).close()
    meeting.wait_for_callers(0)
    callers = [meeting.process(hello(index)) for index in (1, 2)]
    assert meeting.first.result(PATIENCE).keys() == {1, 2}
    for each in callers:
        each.result(PATIENCE)[0].close()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (hello(2, window=9), r"Process 2 differs from process 0 in window \(9, not 10\): start"),
        (hello(2, more=1), r"Process 2 differs from process 0 in more \(1, not None\): start"),
        (hello(1, count=2), r"Process 1 differs from process 0 in num_processes \(2, not 3\): st"),
    ],
)
@pytest.mark.raises_at("jaxmusic/distributed/rendezvous.py:wait", "_failure")
def test_a_difference_is_reported_to_all(
    meet: Callable[..., Meeting], said: Hello, words: str
) -> None:
    meeting = meet()
    waiting = meeting.process(hello(3 - said.process))
    meeting.wait_for_callers(1)
    for each in (meeting.process(said), meeting.first, waiting):
        with pytest.raises(ProcessError, match=words):
            each.result(PATIENCE)


@pytest.mark.raises_at("jaxmusic/distributed/rendezvous.py:wait", "reason")
def test_a_missing_process_is_reported_to_all(meet: Callable[..., Meeting]) -> None:
    meeting = meet(waits=False)
    caller = meeting.process(hello(1))
    meeting.wait_for_callers(1)
    words = "not all of them have started. Start the same command on"
    with pytest.raises(ProcessError, match=words):
        meeting.rendezvous.wait(0.0)
    with pytest.raises(ProcessError, match=words):
        caller.result(PATIENCE)


@pytest.mark.raises_at("jaxmusic/distributed/rendezvous.py:_introduce", "Process 0 ended")
def test_the_end_of_process_0_is_reported_to_those_who_wait(meet: Callable[..., Meeting]) -> None:
    meeting = meet()
    caller = meeting.process(hello(1))
    meeting.wait_for_callers(1)
    for connection in list(meeting.rendezvous._callers):
        connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ProcessError, match="Process 0 ended before all processes of the training"):
        caller.result(PATIENCE)
    for each in [meeting.process(hello(index)) for index in (1, 2)]:  # so that the test can end
        each.result(PATIENCE)[0].close()


@pytest.mark.raises_at("jaxmusic/distributed/rendezvous.py:_introduce", "is not a training")
@pytest.mark.raises_at("jaxmusic/distributed/rendezvous.py:connect")
def test_another_program_at_the_port_is_reported() -> None:
    def answer(says: bytes) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(says)

    with socket.create_server(("127.0.0.1", 0)) as server:
        for says in (b"SSH-2.0-OpenSSH_9.2\r\n", b'{"error": 1}\n'):
            thread = threading.Thread(target=answer, args=(says,))
            thread.start()
            with pytest.raises(
                ProcessError, match=r"at 127.0.0.1:\d+ is not a training: give --coor"
            ):
                connect("127.0.0.1", server.getsockname()[1], hello(1), PATIENCE)
            thread.join()
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(ProcessError, match=r"at 127.0.0.1:\d+ does not answer. Start"),
    ):
        connect("127.0.0.1", mute.getsockname()[1], hello(1), 0.3)


def test_messages_of_others_are_made_printable() -> None:
    sentence = disagreement(1, {"window": "\x1b[2J" + "x" * 10**4}, {"window": 10})
    assert sentence is not None and sentence.isprintable() and len(sentence) < 500
    assert disagreement(1, {"a": 1}, {"a": 1}) is None
    job = replace(hello(1), job="\x1b[2J")
    assert Hello.read(job.line()) == job
