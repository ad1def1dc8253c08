"""How the processes of one training find each other: process 0 listens, the others connect.

Each sends one JSON line: its index and what it is about to train. A process of this training stays
connected; another training is refused with a sentence; a stranger is dropped. Lines have a deadline
and a maximum length. Then `jax.distributed` starts on a port that only the processes know.

Not `jax.distributed.initialize` alone: waiting in vain it aborts with a stack trace, a process
that is started twice aborts the running one, and it can't tell two trainings apart.
"""

import json
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from jaxmusic.errors import UserError, reason_of
from jaxmusic.runtime.printable import printable

HELLO_SECONDS = 10.0  # from connecting to the end of the first line
MAX_STRANGERS = 64  # connections without a valid line yet; beyond, the oldest is dropped
MAX_LINE_BYTES = 2**16
CONNECT_SECONDS = 10.0  # for one attempt
RETRY_SECONDS = 0.25  # between two attempts
NOT_ALL_HERE = "not all of them have started"


class ProcessError(UserError):
    """The processes of a training can't connect, or differ, or one of them is gone."""


@dataclass(frozen=True)
class Hello:
    """How a process introduces itself; all JSON values."""

    process: int
    count: int  # of processes
    job: str  # identifies the training
    values: dict[str, Any]  # must be equal in all processes of a training

    def line(self) -> bytes:
        """The line that is sent."""
        return _line(asdict(self))

    @classmethod
    def read(cls, line: bytes) -> "Hello | None":
        """Parse a received line; None for anything but what `line` returns."""
        message = _read_json(line)
        fields = {"process": int, "count": int, "job": str, "values": dict}
        if not isinstance(message, dict) or message.keys() != fields.keys():
            return None
        if any(type(message[name]) is not kind for name, kind in fields.items()):
            return None
        hello = cls(**message)
        return hello if 0 <= hello.process < hello.count else None


def disagreement(index: int, theirs: dict[str, Any], ours: dict[str, Any]) -> str | None:
    """A sentence on the values of process `index` that differ from process 0's; None if none do."""
    differ = [
        printable(f"{name} ({theirs.get(name)!s:.200}, not {ours.get(name)!s:.200})")
        for name in dict.fromkeys([*ours, *theirs])
        if theirs.get(name) != ours.get(name)
    ]
    if not differ:
        return None
    return (
        f"Process {index} differs from process 0 in {', '.join(differ)}: start the same command, "
        "with the same data, installation and devices, everywhere."
    )


@dataclass
class _Caller:
    connection: socket.socket
    deadline: float  # for its first line
    received: bytearray = field(default_factory=bytearray)
    process: int | None = None  # index of a process that is waiting for the others


class Rendezvous:
    """Process 0's side: a thread that listens as long as the process lives.

    Takes over `listener`. `welcome` is sent to all others once they have all connected; whoever
    connects after that is refused.
    """

    def __init__(self, listener: socket.socket, hello: Hello, welcome: Any) -> None:
        self._hello = Hello(**json.loads(hello.line()))  # as received: tuples become lists
        self._welcome = welcome
        self._callers: dict[socket.socket, _Caller] = {}  # waiting processes and strangers
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._wake_writer, self._wake_reader = socket.socketpair()
        self._settled = threading.Event()
        self._failure: str | None = None
        self._members: dict[int, socket.socket] = {}
        listener.setblocking(False)
        for source in (listener, self._wake_reader):
            self._selector.register(source, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> dict[int, socket.socket]:
        """Wait for all other processes; return the connections to them by index.

        Raises ProcessError when one of them differs, or when not all have connected in time; those
        that are waiting get the same reason.
        """
        deadline = time.monotonic() + seconds
        while not self._settled.wait(min(1.0, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                reason = not_joined(NOT_ALL_HERE, seconds)
                self.close(reason)
                raise ProcessError(reason)
        if self._failure is not None:
            self.close(self._failure)
            raise ProcessError(self._failure)
        return self._members

    def close(self, reason: str | None = None) -> None:
        """Stop listening; processes that are still waiting are sent the reason."""
        with suppress(OSError):
            self._wake_writer.send(b"\0")
        self._thread.join()
        for caller in list(self._callers.values()):
            if caller.process is not None and reason is not None:
                self._send(caller, {"refused": reason})
            self._drop(caller)
        self._selector.close()
        for each in (self._listener, self._wake_writer, self._wake_reader):
            each.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select(timeout=1.0):
                ready = key.fileobj
                if ready is self._wake_reader:
                    return
                if ready is self._listener:
                    self._accept()
                elif ready in self._callers:  # not dropped since
                    self._read(self._callers[ready])
            for caller in list(self._callers.values()):
                if caller.process is None and time.monotonic() >= caller.deadline:
                    self._drop(caller)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has disconnected already, or there are too many open files
            time.sleep(0.01)
            return
        connection.setblocking(False)
        strangers = [caller for caller in self._callers.values() if caller.process is None]
        if len(strangers) >= MAX_STRANGERS:
            self._drop(strangers[0])
        caller = _Caller(connection, time.monotonic() + HELLO_SECONDS)
        self._callers[connection] = caller
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, caller: _Caller) -> None:
        try:
            data = caller.connection.recv(MAX_LINE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        caller.received += data
        # A waiting process sends nothing more: it has ended, and may be started again.
        if not data or caller.process is not None or len(caller.received) > MAX_LINE_BYTES:
            self._drop(caller)
        elif caller.received.endswith(b"\n"):
            hello = Hello.read(bytes(caller.received))
            if hello is None:
                self._drop(caller)
            else:
                self._answer(caller, hello)

    def _answer(self, caller: _Caller, hello: Hello) -> None:
        reason = self._refusal(hello)
        if reason is None:
            caller.process = hello.process
            self._send(caller, {"accepted": True})
            self._welcome_when_complete()
            return
        self._send(caller, {"refused": reason})
        self._drop(caller)

    def _refusal(self, hello: Hello) -> str | None:
        """Why a process is refused; None if it isn't. A difference ends the rendezvous."""
        mine = self._hello
        if hello.job != mine.job:
            return (
                f"Another training ({printable(mine.job)}; this one is {printable(hello.job)}) "
                "listens there: give this one a port of its own, and all its processes the same "
                "flags."
            )
        waiting = {caller.process for caller in self._callers.values()}
        if self._settled.is_set() or hello.process in {0, *waiting}:
            return (
                f"Process {hello.process} of this training is already there: start each process "
                "once, or wait until the training that is running has ended."
            )
        theirs, ours = (
            {"num_processes": each.count} | each.values for each in (hello, self._hello)
        )
        reason = disagreement(hello.process, theirs, ours)
        if reason is not None:
            self._failure = reason
            self._settled.set()
        return reason

    def _welcome_when_complete(self) -> None:
        waiting = [caller for caller in self._callers.values() if caller.process is not None]
        if len(waiting) < self._hello.count - 1:
            return
        for caller in waiting:
            self._selector.unregister(caller.connection)
            del self._callers[caller.connection]
            self._send(caller, {"welcome": self._welcome})
            caller.connection.setblocking(True)
            assert caller.process is not None
            self._members[caller.process] = caller.connection
        self._settled.set()

    def _send(self, caller: _Caller, message: dict[str, Any]) -> None:
        with suppress(OSError):  # it is gone: whoever waits for it will notice
            caller.connection.sendall(_line(message))

    def _drop(self, caller: _Caller) -> None:
        self._selector.unregister(caller.connection)
        del self._callers[caller.connection]
        caller.connection.close()


def connect(host: str, port: int, hello: Hello, seconds: float) -> tuple[socket.socket, Any]:
    """Connect to process 0, and wait for the others; return the connection and the welcome.

    Raises ProcessError when process 0 refuses (with its reason) or ends, when something else
    listens there, or when not all processes have connected in time.
    """
    address = f"{printable(host)}:{port}"
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            connection = socket.create_connection(
                (host, port), min(CONNECT_SECONDS, max(left, 0.1))
            )
        except OSError as error:
            reason = f"process 0 can't be reached at {address} ({reason_of(error)})"
        else:
            with ExitStack() as stack:
                stack.callback(connection.close)
                answer = _introduce(connection, hello, deadline, address)
                if not isinstance(answer, str):
                    stack.pop_all()
                    return connection, answer["welcome"]
            reason = answer
        if time.monotonic() + RETRY_SECONDS >= deadline:
            raise ProcessError(not_joined(reason, seconds))
        time.sleep(RETRY_SECONDS)


def not_joined(reason: str, seconds: float) -> str:
    """A sentence for processes that don't all connect in time."""
    return (
        f"The processes can't connect: {reason}. Start the same command on all hosts within "
        f"{seconds:g} seconds, and check that they reach each other."
    )


def _introduce(
    connection: socket.socket, hello: Hello, deadline: float, address: str
) -> dict[str, Any] | str:
    """The welcome of process 0 once all have connected; or why there is none yet, in words."""
    waiting = False  # whether process 0 has accepted us
    try:
        connection.sendall(hello.line())
        for line in _lines(connection, deadline):
            message = _read_json(line)
            if not isinstance(message, dict) or not message.keys() & {
                "accepted",
                "refused",
                "welcome",
            }:
                raise ProcessError(
                    f"What listens at {address} is not a training: give --coordinator another port."
                )
            if "refused" in message:
                raise ProcessError(printable(str(message["refused"])))
            if "welcome" in message:
                return message
            waiting = True
    except TimeoutError:
        return NOT_ALL_HERE if waiting else f"what listens at {address} does not answer"
    except OSError:  # disconnected
        pass
    if waiting:
        raise ProcessError("Process 0 ended before all processes of the training had started.")
    return f"what listens at {address} disconnects"


def _lines(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """Lines as they arrive, none longer than MAX_LINE_BYTES.

    Raises TimeoutError at the deadline.
    """
    received = bytearray()
    while len(received) <= MAX_LINE_BYTES:
        connection.settimeout(max(deadline - time.monotonic(), 0.01))
        # One byte at a time: what follows the last line belongs to the channel.
        data = connection.recv(1)
        if not data:
            return
        received += data
        if data == b"\n":
            yield bytes(received)
            received.clear()


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _read_json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
