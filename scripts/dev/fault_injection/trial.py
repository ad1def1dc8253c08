"""One trial: a training from its start to its end, or to the signal that stops it."""

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fault_injection.instrumented_trainer import PHASES

TRAINER = Path(__file__).parent / "instrumented_trainer.py"
MAX_SECONDS = 600.0  # of a trial


class InjectedSignal(NamedTuple):
    """When a signal is sent, and to which process."""

    number: signal.Signals
    phase: str
    occurrence: int  # of that phase, from 1
    share: float  # 0 to 1: how far into the phase, by its median time
    process: int = 0  # its index


class Trial(NamedTuple):
    """How a training ended."""

    injected: InjectedSignal | None  # None: it ended by itself, before that phase
    codes: list[int]  # exit codes, by process
    outputs: list[str]
    phase: str  # in which it was stopped
    step: int  # reported last
    resumed_at: int | None  # the step from which it resumed; None: stopped before it logged that
    seconds_to_end: float  # from the signal to the end of the last process
    events: list[tuple[float, str, int]]  # time, phase, step


def run_trial(
    flags: Sequence[str],
    folder: Path,
    injected: InjectedSignal | None,
    usual: dict[str, float],
    *,
    processes: int = 1,
) -> Trial:
    """Start train.py in a folder, and send the signal. `usual` are the seconds of each phase."""
    flags = list(flags)
    if processes > 1:
        with socket.create_server(("localhost", 0)) as free:
            port = free.getsockname()[1]
        flags += ["--coordinator", f"localhost:{port}", "--num-processes", str(processes)]
    trainers, pipes = [], []
    for index in range(processes):
        ours, theirs = os.pipe()
        own = [*flags, "--process-id", str(index)] if processes > 1 else flags
        output = (folder / f"output-{index}.txt").open("w+")
        trainers.append(
            subprocess.Popen(
                [sys.executable, str(TRAINER), str(theirs), *own],
                cwd=folder, pass_fds=[theirs], stdout=output, stderr=subprocess.STDOUT,
                env=os.environ | {
                    "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"),
                    "XDG_CACHE_HOME": str(folder / "cache"),
                    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                },
            )
        )  # fmt: skip
        os.close(theirs)
        pipes.append((ours, output))
    target = 0 if injected is None else injected.process
    began = time.monotonic()
    events: list[tuple[float, str, int]] = [(began, "beginning", 0)]  # of Python's start
    sent_at = _send_when_due(pipes[target][0], trainers[target], injected, usual, events)
    try:
        codes = [each.wait(MAX_SECONDS) for each in trainers]
    finally:
        for each in trainers:
            each.kill()
    seconds = time.monotonic() - sent_at
    outputs = []
    for descriptor, output in pipes:
        os.close(descriptor)
        with output:
            output.seek(0)
            outputs.append(output.read())
    resumed = re.search(r"Going on with .* after step ([\d,]+)\.", outputs[0])
    ended_by_itself = injected is None or not any(codes)
    if not ended_by_itself and re.search(r"^Done: ", outputs[0], re.MULTILINE):
        # The signal came when all was done, after Python had removed its handlers.
        ended_by_itself, codes = True, [0] * processes
    begun = any(phase == "compiling" for _, phase, _ in events)
    return Trial(
        None if ended_by_itself else injected,
        codes,
        outputs,
        events[-1][1],
        events[-1][2],
        int(resumed[1].replace(",", "")) if resumed else 0 if begun else None,
        seconds,
        events,
    )


def _send_when_due(
    descriptor: int,
    process: "subprocess.Popen[bytes]",
    injected: InjectedSignal | None,
    usual: dict[str, float],
    events: list[tuple[float, str, int]],
) -> float:
    """Read a trainer's events until it ends or the signal is due; return that time."""
    occurrences = 0
    due_at: float | None = None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if due_at is None and injected is not None:
                occurrences = sum(phase == injected.phase for _, phase, _ in events)
                if occurrences >= injected.occurrence:
                    due_at = time.monotonic() + injected.share * usual.get(injected.phase, 0.0)
            wait = None if due_at is None else max(0.0, due_at - time.monotonic())
            if not selector.select(wait):
                assert injected is not None
                process.send_signal(injected.number)
                return time.monotonic()
            data = os.read(descriptor, 1 << 16)
            if not data:
                return time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            now = time.monotonic()
            for line in lines:
                phase, step = line.decode().split()
                events.append((now, phase, int(step)))


def median_seconds(trial: Trial) -> dict[str, float]:
    """Return the median seconds of each phase of a trial."""
    taken: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for (since, phase, _), (until, _, _) in zip(trial.events, trial.events[1:], strict=False):
        taken.setdefault(phase, []).append(until - since)
    return {phase: sorted(each)[len(each) // 2] for phase, each in taken.items() if each}
