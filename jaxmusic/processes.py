"""The processes of one training: joined before anything else, then speaking with each other.

Each host of a cluster (or each GPU) runs the same command; process 0 writes and speaks.
"""

import atexit
import os
import secrets
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

from jaxmusic.channel import Channel
from jaxmusic.config import ConfigError, RunConfig
from jaxmusic.errors import UserError, reason_of
from jaxmusic.signals import STOPPING, Stopped, exit_code_of, signal_of
from jaxmusic.streams import flush_streams

PyTree = Any

# What JAX gives a process without a heartbeat; the channel notices most ends at once.
HEARTBEAT_SECONDS = 100
START_SECONDS = 300  # from the first process's start to the last one's
ASKED = "was asked to stop"
SECOND_GLANCE = 5.0  # seconds for the channel to notice that another process is gone


class ProcessError(UserError):
    """The processes of a training can't be joined, don't agree, or one of them is gone."""


class Processes:
    """All processes of this training, as this one sees them; a single one is the usual case."""

    def __init__(self, index: int = 0, count: int = 1, channel: Channel | None = None) -> None:
        self.index = index
        self.count = count
        self._channel = channel

    @property
    def first(self) -> bool:
        """Whether this is process 0, which writes and speaks."""
        return self.index == 0

    def gather(self, value: Any) -> list[Any]:
        """What each process gave, by its index: values as JSON has them; waits for all."""
        return [value] if self._channel is None else self._channel.gather(value)

    def tell(self, make: Callable[[], Any]) -> Any:
        """What process 0 makes (a value as JSON has it), on all; they wait for it."""
        return self.gather(make() if self.first else None)[0]

    def share(self, arrays: PyTree) -> PyTree:
        """Process 0's arrays, on all, as NumPy arrays; the others give any of the same shapes."""
        if self._channel is None:
            return arrays
        return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(arrays))

    def agree(self, values: dict[str, Any]) -> None:
        """See that all processes give the same values, by name.

        Raises ProcessError naming the first process that differs from process 0, and in what.
        """
        first, *others = self.gather(values)
        for index, theirs in enumerate(others, 1):
            differ = [
                f"{name} ({theirs.get(name)}, not {value})"
                for name, value in first.items()
                if theirs.get(name) != value
            ]
            if differ:
                raise ProcessError(
                    f"Process {index} differs from process 0 in {', '.join(differ)}: start the "
                    "same command, with the same data, installation and devices, everywhere."
                )

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is done inside ends on all processes when it fails on one.

        The others say which one failed, and why, and exit as it does.
        """
        try:
            yield
        except UserError as error:
            self._fail(f"failed: {error}", error.exit_code)
            raise
        except KeyboardInterrupt as error:  # Terminated too
            self._fail(ASKED, exit_code_of(signal_of(type(error))))
            raise
        except Exception as error:
            if self._channel is not None and not isinstance(error, Stopped):
                # When another process is gone, what we wait for together fails in ways of the
                # transport's own; the channel's thread then ends this process, with a clear line.
                time.sleep(SECOND_GLANCE)
                self._fail(f"failed: {type(error).__name__}: {error}", 1)
            raise

    def leave(self, exit_code: int) -> None:
        """Tell the others that this process was asked to stop, and ends now; so shall they."""
        if self._channel is not None:
            self._channel.fail(ASKED, exit_code)

    def _fail(self, reason: str, exit_code: int) -> None:
        if self._channel is not None:
            self._channel.fail(reason, exit_code)
            # JAX would wait at exit, for minutes, for the processes that have gone.
            atexit.register(_exit, exit_code)


_joined: Processes | None = None


def join_processes(run: RunConfig) -> Processes:
    """Join the processes of this training: by the flags, else as the cluster tells JAX.

    To be called before JAX is used for anything else. Once joined they stay so, for all trainings
    of a program; processes that the program has joined itself are taken as they are.

    Raises ConfigError for flags that don't fit, ProcessError when the others don't come.
    """
    global _joined  # noqa: PLW0603 (JAX joins once, too)
    if _joined is None or _joined.count == 1:
        _joined = _join(run)
    return _joined


def _join(run: RunConfig) -> Processes:
    given = (run.coordinator, run.num_processes, run.process_id)
    if run.num_processes == 1:
        return Processes()
    flagged = any(value is not None for value in given)
    if flagged:
        _check(*given)
    elif os.environ.get("SLURM_NTASKS") == "1":
        # JAX would take one of this node's GPUs, as if the others had processes of their own.
        return Processes()
    # When time is up JAX would end the process with a stack trace of its own.
    patience = threading.Timer(START_SECONDS, _give_up)
    patience.daemon = True
    try:
        if not jax.distributed.is_initialized():
            # Its handler of SIGTERM would take the place of ours, and waits for the next step.
            jax.config.update("jax_enable_preemption_service", False)
            patience.start()
            jax.distributed.initialize(
                *given,
                initialization_timeout=10 * START_SECONDS,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
    except ValueError as error:
        if not flagged and "should be defined" in str(error):
            return Processes()  # no cluster: a machine by itself
        raise ProcessError(f"The processes can't be joined: {error}") from error
    except RuntimeError as error:
        if not flagged and "must be called before" in str(error):
            return Processes()  # a program that has used JAX already, by itself
        raise ProcessError(_not_joined(str(error).split("\n", maxsplit=1)[0])) from error
    finally:
        patience.cancel()
    index, count = jax.process_index(), jax.process_count()
    if count == 1:
        return Processes()
    return Processes(index, count, _open_channel(index, count))


def _not_joined(reason: str) -> str:
    return (
        f"The processes can't be joined: {reason}. Start the same command on all hosts within "
        f"{START_SECONDS} seconds, and let them reach each other."
    )


def _give_up() -> None:
    """The others don't come. (The main thread is inside a call of JAX's, and hears nothing.)"""
    print(f"Error: {_not_joined('they have not all come')}", file=sys.stderr)
    _exit(1)


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    if coordinator is None or num_processes is None or process_id is None:
        raise ConfigError(
            "--coordinator HOST:PORT, --num-processes N and --process-id I belong together: give "
            "all three on each host (none on Cloud TPU, GKE and SLURM), or --num-processes 1."
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigError(f"--coordinator {coordinator} is not of the form HOST:PORT.")
    if not 0 <= process_id < num_processes:
        raise ConfigError(
            f"--process-id {process_id} must be from 0 to {num_processes - 1} (--num-processes "
            f"{num_processes}), another one on each host."
        )


def _open_channel(index: int, count: int) -> Channel:
    """Where to call process 0 goes by JAX's own collectives, once."""
    from jax._src.distributed import global_state  # noqa: PLC0415 (no public name for the address)

    host = str(global_state.coordinator_address).rpartition(":")[0].strip("[]")
    listener = socket.create_server(("", 0)) if index == 0 else None
    secret = np.frombuffer(secrets.token_bytes(16), np.uint8)
    port = np.int32(0 if listener is None else listener.getsockname()[1])
    secret, port = multihost_utils.broadcast_one_to_all((secret, port))
    token = np.asarray(secret, np.uint8).tobytes().hex()
    try:
        if listener is not None:
            channel = Channel.serve(listener, token, count, _lost)
        else:
            channel = Channel.call((host, int(port)), token, index, count, _lost)
    except OSError as error:
        raise ProcessError(
            f"Process {index} of {count} can't reach process 0 at {host}:{int(port)}: "
            f"{reason_of(error)}. The hosts of a training must reach each other on any port."
        ) from error
    atexit.register(channel.close)
    return channel


def _lost(reason: str, exit_code: int) -> None:
    """Another process is gone: nothing can go on without it."""
    if exit_code in map(exit_code_of, STOPPING):
        print(f"{reason}: all stop. The same command on all hosts goes on from there.")
        _exit(exit_code)
    print(
        f"Error: {reason}. All processes of the training stop. Once it is mended, start the same "
        "command on all hosts: training goes on from the last checkpoint.",
        file=sys.stderr,
    )
    _exit(exit_code)


def _exit(exit_code: int) -> None:
    """End at once: what JAX does at exit waits for processes that are gone."""
    flush_streams()
    os._exit(exit_code)
