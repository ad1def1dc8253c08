"""Where the processes of one training meet: process 0 listens, the others call it.

A caller says in one line of JSON who it is and what it is about to train. One that belongs to this
training stays connected; any other is told in a sentence why not, or dropped when it speaks no
JSON. All callers are read at once, each with a deadline, none for more than a bounded number of
bytes. JAX's own service, which a stranger can crash, then starts on a port that only the members
of the training are told.
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

HELLO_SECONDS = 10.0  # from a connection to the end of its first line
MOST_STRANGERS = 64  # connections that have not said who they are; beyond, the oldest is dropped
MOST_BYTES = 2**16  # of a line
CALL_SECONDS = 10.0  # for one attempt to connect
RETRY_SECONDS = 0.25  # from one attempt to the next
NOT_ALL_HERE = "they have not all come"


class ProcessError(UserError):
    """The processes of a training can't be joined, don't agree, or one of them is gone."""


@dataclass(frozen=True)
class Hello:
    """What a process says of itself; all as JSON has it."""

    process: int
    count: int  # of processes
    job: str  # which training: another one is refused
    values: dict[str, Any]  # what all processes of a training must have alike

    def line(self) -> bytes:
        """As it is sent."""
        return _line(asdict(self))

    @classmethod
    def read(cls, line: bytes) -> "Hello | None":
        """From what was received; None for anything else than what `line` gives."""
        said = _read_json(line)
        fields = {"process": int, "count": int, "job": str, "values": dict}
        if not isinstance(said, dict) or said.keys() != fields.keys():
            return None
        if any(type(said[name]) is not kind for name, kind in fields.items()):
            return None
        hello = cls(**said)
        return hello if 0 <= hello.process < hello.count else None


def disagreement(index: int, theirs: dict[str, Any], ours: dict[str, Any]) -> str | None:
    """A sentence on the values, by name, that process `index` has otherwise than process 0."""
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
    heard: bytearray = field(default_factory=bytearray)
    process: int | None = None  # once it has said so, and is waiting for the others


class Rendezvous:
    """Process 0's side: a thread that listens for as long as the process lives.

    `listener` is taken over. `hello` is process 0's own, and `welcome` what all the others are
    told once they have all called. Whoever calls after that is refused.
    """

    def __init__(self, listener: socket.socket, hello: Hello, welcome: Any) -> None:
        self._hello = Hello(**json.loads(hello.line()))  # values as they come from the others
        self._welcome = welcome
        self._callers: dict[socket.socket, _Caller] = {}  # those who wait, and strangers
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._wakes, self._woken = socket.socketpair()
        self._settled = threading.Event()
        self._failure: str | None = None
        self._members: dict[int, socket.socket] = {}
        listener.setblocking(False)
        for waiting in (listener, self._woken):
            self._selector.register(waiting, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> dict[int, socket.socket]:
        """Connections to all other processes, by their index, once they have all called.

        Raises ProcessError when one of them is about to train something else, or when not all
        have come after so many seconds; those who wait are told.
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
        """Stop listening; those who still wait are told the reason."""
        with suppress(OSError):
            self._wakes.send(b"\0")
        self._thread.join()
        for caller in list(self._callers.values()):
            if caller.process is not None and reason is not None:
                self._say(caller, {"refused": reason})
            self._drop(caller)
        self._selector.close()
        for each in (self._listener, self._wakes, self._woken):
            each.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select(timeout=1.0):
                ready = key.fileobj
                if ready is self._woken:
                    return
                if ready is self._listener:
                    self._accept()
                elif ready in self._callers:  # it may have been dropped since
                    self._read(self._callers[ready])
            for caller in list(self._callers.values()):
                if caller.process is None and time.monotonic() >= caller.deadline:
                    self._drop(caller)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has hung up already, or there are too many open files
            time.sleep(0.01)
            return
        connection.setblocking(False)
        strangers = [caller for caller in self._callers.values() if caller.process is None]
        if len(strangers) >= MOST_STRANGERS:
            self._drop(strangers[0])
        caller = _Caller(connection, time.monotonic() + HELLO_SECONDS)
        self._callers[connection] = caller
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, caller: _Caller) -> None:
        try:
            data = caller.connection.recv(MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        caller.heard += data
        # One who waits says nothing more: it has ended, and its place is free again.
        if not data or caller.process is not None or len(caller.heard) > MOST_BYTES:
            self._drop(caller)
        elif caller.heard.endswith(b"\n"):
            hello = Hello.read(bytes(caller.heard))
            if hello is None:
                self._drop(caller)
            else:
                self._answer(caller, hello)

    def _answer(self, caller: _Caller, hello: Hello) -> None:
        reason = self._why_not(hello)
        if reason is None:
            caller.process = hello.process
            self._say(caller, {"heard": True})
            self._welcome_all()
            return
        self._say(caller, {"refused": reason})
        self._drop(caller)

    def _why_not(self, hello: Hello) -> str | None:
        """Why a caller can't be let in. A disagreement within the training ends the meeting."""
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

    def _welcome_all(self) -> None:
        waiting = [caller for caller in self._callers.values() if caller.process is not None]
        if len(waiting) < self._hello.count - 1:
            return
        for caller in waiting:
            self._selector.unregister(caller.connection)
            del self._callers[caller.connection]
            self._say(caller, {"welcome": self._welcome})
            caller.connection.setblocking(True)
            assert caller.process is not None
            self._members[caller.process] = caller.connection
        self._settled.set()

    def _say(self, caller: _Caller, message: dict[str, Any]) -> None:
        with suppress(OSError):  # it is gone: what waits for it will notice
            caller.connection.sendall(_line(message))

    def _drop(self, caller: _Caller) -> None:
        self._selector.unregister(caller.connection)
        del self._callers[caller.connection]
        caller.connection.close()


def call(host: str, port: int, hello: Hello, seconds: float) -> tuple[socket.socket, Any]:
    """Call process 0 until it answers, and wait for the others: the connection, and its welcome.

    Raises ProcessError when it refuses, with its reason; when it ends, or something else listens
    there; or when not all processes have come after so many seconds.
    """
    address = f"{printable(host)}:{port}"
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            connection = socket.create_connection((host, port), min(CALL_SECONDS, max(left, 0.1)))
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
    """A sentence for processes that don't come together in so many seconds."""
    return (
        f"The processes can't be joined: {reason}. Start the same command on all hosts within "
        f"{seconds:g} seconds, and let them reach each other."
    )


def _introduce(
    connection: socket.socket, hello: Hello, deadline: float, address: str
) -> dict[str, Any] | str:
    """What process 0 says once all have come; or why it says no such thing, for now."""
    waiting = False  # whether process 0 knows of us
    try:
        connection.sendall(hello.line())
        for line in _lines(connection, deadline):
            said = _read_json(line)
            if not isinstance(said, dict) or not said.keys() & {"heard", "refused", "welcome"}:
                raise ProcessError(
                    f"What listens at {address} is no training: give --coordinator another port."
                )
            if "refused" in said:
                raise ProcessError(printable(str(said["refused"])))
            if "welcome" in said:
                return said
            waiting = True
    except TimeoutError:
        return NOT_ALL_HERE if waiting else f"what listens at {address} does not answer"
    except OSError:  # cut off: as when it hangs up
        pass
    if waiting:
        raise ProcessError("Process 0 ended before all processes of the training had come.")
    return f"what listens at {address} hangs up"


def _lines(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """Lines as they come, none longer than MOST_BYTES, nothing after the one with the welcome.

    Raises TimeoutError at the deadline.
    """
    heard = bytearray()
    while len(heard) <= MOST_BYTES:
        connection.settimeout(max(deadline - time.monotonic(), 0.01))
        # A byte at a time: what follows the last line is not ours to take.
        data = connection.recv(1)
        if not data:
            return
        heard += data
        if data == b"\n":
            yield bytes(heard)
            heard.clear()


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _read_json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
