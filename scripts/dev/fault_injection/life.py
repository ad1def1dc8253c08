"""One life of a training: from its start to its end, or to the signal that stops it."""

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

from fault_injection.victim import PHASES

VICTIM = Path(__file__).parent / "victim.py"
MOST_SECONDS = 600.0  # of a life


class Blow(NamedTuple):
    """When a training is stopped, and how."""

    number: signal.Signals
    phase: str
    turn: int  # of that phase, from 1
    share: float  # 0 to 1: how far into the phase, by the time that it usually takes
    process: int = 0  # which one of them


class Life(NamedTuple):
    """What became of a training that was started."""

    blow: Blow | None  # None: it ended by itself, before the phase came
    codes: list[int]  # exit codes, by process
    outputs: list[str]
    phase: str  # it was in when it was stopped
    step: int  # told last
    begun_at: int | None  # the step it went on from; None: stopped before it could say
    seconds_to_end: float  # from the signal to the end of the last process
    marks: list[tuple[float, str, int]]  # when, phase, step


def live(
    flags: Sequence[str],
    folder: Path,
    blow: Blow | None,
    usual: dict[str, float],
    *,
    processes: int = 1,
) -> Life:
    """Start train.py in a folder, and stop it as told. `usual` are the seconds of each phase."""
    flags = list(flags)
    if processes > 1:
        with socket.create_server(("localhost", 0)) as free:
            port = free.getsockname()[1]
        flags += ["--coordinator", f"localhost:{port}", "--num-processes", str(processes)]
    crowd, ends = [], []
    for index in range(processes):
        ours, theirs = os.pipe()
        own = [*flags, "--process-id", str(index)] if processes > 1 else flags
        output = (folder / f"output-{index}.txt").open("w+")
        crowd.append(
            subprocess.Popen(
                [sys.executable, str(VICTIM), str(theirs), *own],
                cwd=folder, pass_fds=[theirs], stdout=output, stderr=subprocess.STDOUT,
                env=os.environ | {
                    "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"),
                    "XDG_CACHE_HOME": str(folder / "cache"),
                    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                },
            )
        )  # fmt: skip
        os.close(theirs)
        ends.append((ours, output))
    victim = 0 if blow is None else blow.process
    began = time.monotonic()
    marks: list[tuple[float, str, int]] = [(began, "beginning", 0)]  # of Python itself
    struck = _strike(ends[victim][0], crowd[victim], blow, usual, marks)
    try:
        codes = [each.wait(MOST_SECONDS) for each in crowd]
    finally:
        for each in crowd:
            each.kill()
    seconds = time.monotonic() - struck
    outputs = []
    for descriptor, output in ends:
        os.close(descriptor)
        with output:
            output.seek(0)
            outputs.append(output.read())
    gone_on = re.search(r"Going on with .* after step ([\d,]+)\.", outputs[0])
    ended_by_itself = blow is None or not any(codes)
    if not ended_by_itself and re.search(r"^Done: ", outputs[0], re.MULTILINE):
        # It was done with all when the signal came, and Python with its handlers.
        ended_by_itself, codes = True, [0] * processes
    begun = any(phase == "compiling" for _, phase, _ in marks)
    return Life(
        None if ended_by_itself else blow,
        codes,
        outputs,
        marks[-1][1],
        marks[-1][2],
        int(gone_on[1].replace(",", "")) if gone_on else 0 if begun else None,
        seconds,
        marks,
    )


def _strike(
    descriptor: int,
    process: "subprocess.Popen[bytes]",
    blow: Blow | None,
    usual: dict[str, float],
    marks: list[tuple[float, str, int]],
) -> float:
    """Listen to a process until it ends, or is to be stopped; the moment when it was."""
    turns = 0
    strikes_at: float | None = None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if strikes_at is None and blow is not None:
                turns = sum(phase == blow.phase for _, phase, _ in marks)
                if turns >= blow.turn:
                    strikes_at = time.monotonic() + blow.share * usual.get(blow.phase, 0.0)
            wait = None if strikes_at is None else max(0.0, strikes_at - time.monotonic())
            if not selector.select(wait):
                assert blow is not None
                process.send_signal(blow.number)
                return time.monotonic()
            told = os.read(descriptor, 1 << 16)
            if not told:
                return time.monotonic()
            *lines, rest = (rest + told).split(b"\n")
            now = time.monotonic()
            for line in lines:
                phase, step = line.decode().split()
                marks.append((now, phase, int(step)))


def usual_seconds(life: Life) -> dict[str, float]:
    """How long each phase of a life took, at the median."""
    taken: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for (since, phase, _), (until, _, _) in zip(life.marks, life.marks[1:], strict=False):
        taken.setdefault(phase, []).append(until - since)
    return {phase: sorted(each)[len(each) // 2] for phase, each in taken.items() if each}
