"""Measures what each file costs the process that parses it."""

import os
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jaxmusic.preparation.parsing import FileResult, Job, Reader, main


class Cost(NamedTuple):
    """The cost of parsing a file."""

    seconds: float  # of the processor
    megabytes: float  # the most that the process held meanwhile, all of it


class MeasuringReader(Reader):
    """A reader that writes a line with each file's cost to a log of its process."""

    def __init__(self, folder: str | os.PathLike[str], scheme: str, *, log: str) -> None:
        super().__init__(folder, scheme)
        self._log = open(f"{log}-{os.getpid()}", "a", buffering=1, encoding="ascii")  # noqa: SIM115

    def read_file(self, job: Job, ids: list[int]) -> FileResult:
        """Parse one file, as a reader does, and log its cost."""
        _forget_peak()
        began = time.process_time()
        result = super().read_file(job, ids)
        print(job.number, time.process_time() - began, _peak(), file=self._log)
        return result


def worker_program(log: str) -> tuple[str, ...]:
    """The program of a measuring worker."""
    return ("-P", "-m", "fuzzing.measuring", log)


def read_costs(log: str) -> dict[int, Cost]:
    """The cost of each file, by its index, from the logs of all processes, which are emptied.

    To be called when the workers have ended.
    """
    costs = {}
    for path in Path(log).parent.glob(f"{Path(log).name}-*"):
        for line in path.read_text(encoding="ascii").splitlines():
            index, seconds, megabytes = line.split()
            costs[int(index)] = Cost(float(seconds), float(megabytes))
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


if __name__ == "__main__":
    main(partial(MeasuringReader, log=sys.argv[1]))
