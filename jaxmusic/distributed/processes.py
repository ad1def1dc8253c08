"""The processes of one training: connecting them, then values and arrays between them.

Each host of a cluster (or each GPU) runs the same command; process 0 writes files and logs. JAX
finds clusters (cluster.py) and broadcasts arrays (`multihost_utils`).
"""

import atexit
import dataclasses
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxmusic.config import RunConfig
from jaxmusic.distributed.channel import Channel
from jaxmusic.distributed.cluster import (
    Placement,
    address_of,
    find_placement,
    listen,
    split_address,
)
from jaxmusic.distributed.rendezvous import (
    Hello,
    ProcessError,
    Rendezvous,
    connect,
    disagreement,
    not_joined,
)
from jaxmusic.distributed.signals import STOPPING, Stopped, exit_code_of, signal_of
from jaxmusic.errors import UserError
from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import flush_streams

PyTree = Any

# Of JAX's own heartbeats, which abort with a stack trace: the channel is to notice first.
HEARTBEAT_SECONDS = 100
START_SECONDS = 300  # from the start of the first process to that of the last
SIGNALLED = "was asked to stop"
PORT_KEY = "jaxmusic/port"  # in JAX's own service
CHANNEL_SECONDS = 5.0  # in which the channel notices that another process is gone


class Processes:
    """All processes of this training, seen from one of them; usually it is the only one."""

    def __init__(self, index: int = 0, count: int = 1, channel: Channel | None = None) -> None:
        self.index = index
        self.count = count
        self._channel = channel

    @property
    def is_primary(self) -> bool:
        """Whether this is process 0, which writes files and logs."""
        return self.index == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the JSON values of all processes, by index; blocks until all have called this."""
        return [value] if self._channel is None else self._channel.gather(value)

    def broadcast(self, make: Callable[[], Any]) -> Any:
        """Return the JSON value that process 0 makes; blocks until all have called this."""
        return self.gather(make() if self.is_primary else None)[0]

    def broadcast_arrays(self, arrays: PyTree) -> PyTree:
        """Return process 0's arrays as NumPy arrays; the others give any of the same shapes."""
        if self._channel is None:
            return arrays
        return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(arrays))

    def require_equal(self, values: dict[str, Any]) -> None:
        """Raise ProcessError naming the first process whose values differ, and in which names."""
        first, *others = self.gather(values)
        for index, theirs in enumerate(others, 1):
            if (reason := disagreement(index, theirs, first)) is not None:
                raise ProcessError(reason)

    @contextmanager
    def together(self) -> Iterator[None]:
        """An error in the body ends all processes; the others report which one failed, and why."""
        try:
            yield
        except UserError as error:
            self._fail(f"failed: {error}", error.exit_code)
            raise
        except KeyboardInterrupt as error:  # Terminated too
            self._fail(SIGNALLED, exit_code_of(signal_of(type(error))))
            raise
        except Exception as error:
            if self._channel is not None and not isinstance(error, Stopped):
                # When another process is gone, a collective may fail first with an error of the
                # transport. Give the channel time to end this process with a clear sentence.
                time.sleep(CHANNEL_SECONDS)
                self._fail(f"failed: {type(error).__name__}: {error}", 1)
            raise

    def leave(self, exit_code: int) -> None:
        """End the other processes too: this one got a signal and ends now."""
        if self._channel is not None:
            self._channel.fail(SIGNALLED, exit_code)

    def _fail(self, reason: str, exit_code: int) -> None:
        if self._channel is not None:
            self._channel.fail(reason, exit_code)
            # At a normal exit JAX waits for minutes for processes that are gone.
            atexit.register(_exit, exit_code)


_joined: Processes | None = None


def join_processes(run: RunConfig, values: dict[str, Any] | None = None) -> Processes:
    """Connect the processes of this training, by the flags or as JAX finds them on a cluster.

    Must be called before JAX is used for anything else. They stay connected for all trainings of a
    program. Processes that the program has connected itself are taken over.

    `values`, JSON by name, must be equal in all processes. (If they are connected already, use
    `Processes.require_equal`.)

    Raises ConfigError for invalid flags; ProcessError when the others don't start, differ, or
    belong to another training.
    """
    global _joined  # noqa: PLW0603 (as in JAX)
    if _joined is None or _joined.count == 1:
        _joined = _join(run, values or {})
    return _joined


def _join(run: RunConfig, values: dict[str, Any]) -> Processes:
    by_the_program = jax.distributed.is_initialized()
    placement = _placement_in_jax() if by_the_program else find_placement(run)
    if placement is None:
        return Processes()
    listener = listen(placement) if placement.index == 0 else None
    if by_the_program:
        placement = _share_port(placement, listener)
    hello = Hello(placement.index, placement.count, f"--run-dir {run.run_dir}", values)
    processes, service = _meet(placement, hello, listener)
    if not by_the_program:
        with processes.together():
            _start_jax(placement, service)
    return processes


def _meet(
    placement: Placement, hello: Hello, listener: socket.socket | None
) -> tuple[Processes, str]:
    """Wait for all processes; return them, and an address for JAX's own service.

    The port is free now. (Should another program take it before JAX does, JAX reports that.)
    """
    index, count = placement.index, placement.count
    if listener is not None:
        host = listener.getsockname()[0]
        with socket.create_server((host, 0), family=listener.family) as free:
            port = free.getsockname()[1]
        peers = Rendezvous(listener, hello, port).wait(START_SECONDS)
    else:
        connection, port = connect(placement.host, placement.port, hello, START_SECONDS)
        host = connection.getpeername()[0]  # as this process reaches it
        peers = {0: connection}
    channel = Channel(index, count, peers, _lost)
    atexit.register(channel.close)
    return Processes(index, count, channel), address_of(host, int(port))


def _placement_in_jax() -> Placement | None:
    """The placement of processes that the program has connected itself."""
    from jax._src.distributed import global_state  # noqa: PLC0415 (no public name for the address)

    if jax.process_count() == 1:
        return None
    host, _ = split_address(str(global_state.coordinator_address))
    return Placement(host, 0, jax.process_count(), jax.process_index(), None, by_flags=False)


def _share_port(placement: Placement, listener: socket.socket | None) -> Placement:
    """Publish the port of process 0's listener by JAX's own service."""
    from jax._src.distributed import global_state  # noqa: PLC0415 (no public name for it)

    client = global_state.client
    assert client is not None
    if listener is not None:
        client.key_value_set(PORT_KEY, str(listener.getsockname()[1]))
    port = client.blocking_key_value_get(PORT_KEY, 1000 * START_SECONDS)
    return dataclasses.replace(placement, port=int(port))


def _start_jax(placement: Placement, service: str) -> None:
    """Connect JAX's runtimes; process 0 listens at that address only."""
    watchdog = threading.Timer(START_SECONDS, _give_up, [service])
    watchdog.daemon = True
    watchdog.start()  # before JAX's own time-out aborts with a stack trace
    # Its handler of SIGTERM would replace ours, and waits for the next step.
    jax.config.update("jax_enable_preemption_service", False)
    host, port = split_address(service)
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    try:
        jax.distributed.initialize(
            address_of(everywhere.get(host, host), port or 0),
            placement.count,
            placement.index,
            placement.local_devices,
            cluster_detection_method="deactivate",
            coordinator_bind_address=service,
            initialization_timeout=10 * START_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = printable(str(error).split("\n", maxsplit=1)[0])
        raise ProcessError(not_joined(f"JAX says: {reason}", START_SECONDS)) from error
    finally:
        watchdog.cancel()


def _give_up(service: str) -> None:
    """End this process, whose main thread is inside a call of JAX."""
    reason = f"they don't all reach JAX's own service at {service}"
    print(f"Error: {not_joined(reason, START_SECONDS)}", file=sys.stderr)
    _exit(1)


def _lost(reason: str, exit_code: int) -> None:
    """End this process because another one is gone."""
    if exit_code in map(exit_code_of, STOPPING):
        print(f"{reason}: all stop. The same command on all hosts continues from there.")
        _exit(exit_code)
    print(
        f"Error: {reason}. All processes of the training stop. Start the same command on all "
        "hosts again: training continues from the last checkpoint.",
        file=sys.stderr,
    )
    _exit(exit_code)


def _exit(exit_code: int) -> None:
    """End at once: at a normal exit JAX waits for processes that are gone."""
    flush_streams()
    os._exit(exit_code)
