"""Words between the processes of one training: over TCP, a line of JSON each.

JAX's own service notices a process that is gone by its missing heartbeats, after a minute or more,
and then aborts with a stack trace. A connection that the system closes is noticed at once, and a
process that fails can still say why. One that says nothing at all (it hangs as a whole, or its host
has lost its power) is missed after a minute.
"""

import json
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

SIGN_SECONDS = 10.0  # from one sign of life to the next
SILENCE_SECONDS = 60.0  # after so long without any, a process is taken for lost
Lost = Callable[[str, int], None]  # (what happened, exit code): ends this process


class Channel:
    """Joins process 0 with each other process, by connections that `rendezvous` makes.

    `lost` is called, in a thread of the channel's own, when another process is gone without a
    good-bye (exit code 1), or has said that it failed (its exit code).
    """

    def __init__(self, index: int, count: int, peers: dict[int, socket.socket], lost: Lost) -> None:
        self.index = index
        self.count = count
        self._peers = peers  # of process 0: all others; of the others: process 0
        self._lost = lost
        self._leaving = False
        self._heard: dict[int, queue.Queue[Any]] = {peer: queue.Queue() for peer in peers}
        self._telling = threading.Lock()  # a line at a time
        self._closed = threading.Event()
        for peer, connection in peers.items():
            _keep_open(connection)
            threading.Thread(target=self._listen, args=(peer,), daemon=True).start()
        threading.Thread(target=self._live, daemon=True).start()

    def gather(self, value: Any) -> list[Any]:
        """What each process gave, by its index; waits until all have (values as JSON has them)."""
        if self.index == 0:
            everyone = [value, *(self._heard[peer].get() for peer in range(1, self.count))]
            self._tell({"value": everyone})
            return everyone
        self._tell({"value": value})
        gathered: list[Any] = self._heard[0].get()
        return gathered

    def fail(self, reason: str, exit_code: int) -> None:
        """Tell all others that this process ends, and why (`reason` goes on after its number)."""
        self._leaving = True
        self._closed.set()
        told = f"Process {self.index} of {self.count} {reason}"
        self._tell({"lost": told, "exit_code": exit_code})

    def close(self) -> None:
        """Say good-bye: this process ends, and all is well."""
        self._leaving = True
        self._closed.set()
        self._tell({"bye": True})

    def _live(self) -> None:
        while not self._closed.wait(SIGN_SECONDS):
            self._tell({"alive": True})

    def _tell(self, message: dict[str, Any], but: int | None = None) -> None:
        line = json.dumps(message).encode() + b"\n"
        for peer, connection in self._peers.items():
            if peer != but:
                try:
                    with self._telling:
                        connection.sendall(line)
                except OSError:
                    continue  # it is gone: the thread that listens to it says so

    def _listen(self, peer: int) -> None:
        what = "is gone"
        try:
            with self._peers[peer].makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    if "alive" in message:
                        continue
                    if "bye" in message:
                        return
                    if "lost" in message:
                        self._end(message["lost"], message["exit_code"], peer)
                        return
                    self._heard[peer].put(message["value"])
        except TimeoutError:
            what = f"has given no sign of life for {SILENCE_SECONDS:.0f} seconds"
        except (OSError, ValueError):
            pass  # cut off in the middle of a line: the same as below
        self._end(f"Process {peer} of {self.count} {what}", 1, peer)

    def _end(self, reason: str, exit_code: int, peer: int) -> None:
        if not self._leaving:
            self._leaving = True
            if self.index == 0:
                self._tell({"lost": reason, "exit_code": exit_code}, but=peer)
            self._lost(reason, exit_code)


def _keep_open(connection: socket.socket) -> None:
    connection.settimeout(SILENCE_SECONDS)
    # So that a host that lost its power is noticed too.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
