"""Messages between the processes of one training: JSON lines over TCP.

JAX's own heartbeats notice a dead process too, but abort the others with a C++ stack trace instead
of a sentence, and say nothing about why a process failed. `multihost_utils` gathers arrays only,
by two collectives (13 ms), and fails where processes have different numbers of
devices, which is one of the mistakes that have to be reported.
"""

import json
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

HEARTBEAT_SECONDS = 10.0  # between two heartbeats
TIMEOUT_SECONDS = 60.0  # without any message: the process hangs, or its host has lost power
OnLost = Callable[[str, int], None]  # (what happened, exit code): ends this process


class Channel:
    """Connects process 0 to each other process, over the connections of a rendezvous.

    `on_lost` is called in a thread of the channel when another process has vanished (exit code 1)
    or has failed (its exit code).
    """

    def __init__(
        self, index: int, count: int, peers: dict[int, socket.socket], on_lost: OnLost
    ) -> None:
        self.index = index
        self.count = count
        self._peers = peers  # process 0: all others; the others: process 0
        self._on_lost = on_lost
        self._leaving = False
        self._received: dict[int, queue.Queue[Any]] = {peer: queue.Queue() for peer in peers}
        self._send_lock = threading.Lock()  # one line at a time
        self._closed = threading.Event()
        for peer, connection in peers.items():
            _keep_alive(connection)
            threading.Thread(target=self._receive, args=(peer,), daemon=True).start()
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def gather(self, value: Any) -> list[Any]:
        """Return the JSON values of all processes, by index; blocks until all have sent theirs."""
        if self.index == 0:
            values = [value, *(self._received[peer].get() for peer in range(1, self.count))]
            self._send({"value": values})
            return values
        self._send({"value": value})
        gathered: list[Any] = self._received[0].get()
        return gathered

    def fail(self, reason: str, exit_code: int) -> None:
        """Send all others the reason why this process ends ("Process 1 of 2" precedes it)."""
        self._leaving = True
        self._closed.set()
        sentence = f"Process {self.index} of {self.count} {reason}"
        self._send({"lost": sentence, "exit_code": exit_code})

    def close(self) -> None:
        """Leave without an error."""
        self._leaving = True
        self._closed.set()
        self._send({"bye": True})

    def _send_heartbeats(self) -> None:
        while not self._closed.wait(HEARTBEAT_SECONDS):
            self._send({"alive": True})

    def _send(self, message: dict[str, Any], skip: int | None = None) -> None:
        line = json.dumps(message).encode() + b"\n"
        for peer, connection in self._peers.items():
            if peer != skip:
                try:
                    with self._send_lock:
                        connection.sendall(line)
                except OSError:
                    continue  # the thread that receives from it reports that

    def _receive(self, peer: int) -> None:
        event = "is gone"
        try:
            with self._peers[peer].makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    if "alive" in message:
                        continue
                    if "bye" in message:
                        return
                    if "lost" in message:
                        self._lose(message["lost"], message["exit_code"], peer)
                        return
                    self._received[peer].put(message["value"])
        except TimeoutError:
            event = f"has not responded for {TIMEOUT_SECONDS:.0f} seconds"
        except (OSError, ValueError):
            pass  # the connection broke, maybe in the middle of a line: the process is gone
        self._lose(f"Process {peer} of {self.count} {event}", 1, peer)

    def _lose(self, reason: str, exit_code: int, peer: int) -> None:
        if not self._leaving:
            self._leaving = True
            if self.index == 0:
                self._send({"lost": reason, "exit_code": exit_code}, skip=peer)
            self._on_lost(reason, exit_code)


def _keep_alive(connection: socket.socket) -> None:
    connection.settimeout(TIMEOUT_SECONDS)
    # A host that lost power is noticed too.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
