"""What each file costs the process that reads it; installed where files are read."""

import os
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

from jaxmusic.preparation import parsing
from jaxmusic.preparation import worker_pool as workers
from jaxmusic.preparation.parsing import FileResult, Job, Reader

# The line of a worker's program after which it can import what lies beside fuzz_midi.py.
_AFTER = "from jaxmusic.preparation.worker_pool import serve\n"


class Cost(NamedTuple):
    """What reading a file took."""

    seconds: float  # of the processor
    megabytes: float  # the most that the process held meanwhile, all of it


def install(log: str) -> None:
    """Have this process write a line of each file's cost to a log of its own."""
    file = open(f"{log}-{os.getpid()}", "a", buffering=1, encoding="ascii")  # noqa: SIM115
    read_file = Reader._read_file

    def measured(self: Reader, job: Job, ids: list[int]) -> FileResult:
        _forget_peak()
        began = time.process_time()
        result = read_file(self, job, ids)
        print(job.place, time.process_time() - began, _peak(), file=file)
        return result

    parsing.Reader._read_file = measured  # type: ignore[method-assign]


def install_in_workers(log: str) -> None:
    """The same for all workers started from now on."""
    more = f"from fuzzing.measuring import install\ninstall({log!r})\n"
    workers.START = workers.START.replace(_AFTER, _AFTER + more)


def read_costs(log: str) -> dict[int, Cost]:
    """The cost of each file, by its place, out of the logs of all processes, which are emptied.

    To be called when the workers have ended.
    """
    costs = {}
    for path in Path(log).parent.glob(f"{Path(log).name}-*"):
        for line in path.read_text(encoding="ascii").splitlines():
            place, seconds, megabytes = line.split()
            costs[int(place)] = Cost(float(seconds), float(megabytes))
        if path.name.endswith(f"-{os.getpid()}"):
            os.truncate(path, 0)  # this process goes on with it
        else:
            path.unlink()
    return costs


def _forget_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> float:
    """Megabytes; where there is no /proc, the most since the process began."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
