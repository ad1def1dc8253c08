"""`benchmark.py prepare`: preparing large sets by the command line, first, again, after a kill."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from jaxmusic.benchmarks.flags import PrepareFlags
from jaxmusic.benchmarks.harness.rounds import Log
from jaxmusic.benchmarks.large_sets import read_songs, write_set
from jaxmusic.benchmarks.results.measurement import Measurement, Report
from jaxmusic.config import ConfigError
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.errors import UserError

MORE_FILES = 10
MORE = "more"  # the folder that they are put into
LOOK_SECONDS = 0.02  # from one look at a process that is to be killed to the next
# From one look at the processes' memory to the next: looking takes time of the cores that are to
# be measured. The system keeps the peaks.
MEMORY_LOOK_SECONDS = 0.2


class PrepareError(UserError):
    """A preparation that failed."""


@dataclass(frozen=True)
class _Set:
    midi: Path
    corpora: Path  # folder for what is prepared of it
    workers: int


def run_preparing(flags: PrepareFlags, report: Report, log: Log) -> None:
    """Time preparing each set into the report."""
    counts = {"rounds": flags.rounds, "files": min(flags.files, default=0)}
    if flags.workers is not None:
        counts["workers"] = flags.workers
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"--{name} is {count}, but must be 1 or more.")
    if flags.seed < 0:
        raise ConfigError(f"--seed is {flags.seed}, but must be 0 or more.")
    songs = read_songs(Path(flags.midi_dir))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for files in flags.files:
            midi = Path(flags.sets or folder) / f"{files}-{flags.seed}"
            if not midi.exists():
                log(f"making {files:,} files")
                write_set(songs, midi, files, flags.seed)
            if (more := midi / MORE).exists():
                raise ConfigError(
                    f"--sets {flags.sets}: {more} is needed, and is there already, of a benchmark "
                    "that was stopped or of your own: move it away, or give another --sets."
                )
            workers = flags.workers or os.cpu_count() or 1
            _time_set(_Set(midi, Path(folder), workers), flags.rounds, report, log)


def _time_set(one: _Set, rounds: int, report: Report, log: Log) -> None:
    paths = [path for path in one.midi.rglob("*") if path.is_file()]
    work = {"files": len(paths), "MB": sum(path.stat().st_size for path in paths) / 1e6}
    ways: dict[str, Callable[[_Set], tuple[float, float, int]]] = {
        f"{one.workers} processes": lambda one: _first(one, one.workers),
        "1 process": lambda one: _first(one, 1),
        f"{one.workers} apart, by {one.workers}": _apart,
        "again, nothing new": _again,
        f"{MORE_FILES} files more": _more,
        "the rest, killed half way": _rest,
    }
    group = f"Preparing {len(paths):,} files"
    measurements = {
        name: Measurement(group, name, "preparation from nothing", work, extras={"part": True})
        for name in ways
    }
    del measurements[f"{one.workers} processes"].extras["part"]
    report.measurements += measurements.values()
    for number in range(1, rounds + 1):
        for name, way in ways.items():
            seconds, processor_seconds, peak = way(one)
            measurement = measurements[name]
            measurement.samples.append(seconds)
            measurement.extras["processor_seconds"] = processor_seconds
            memory = ""
            if peak:
                peak = max(peak, measurement.extras.get("all_peak_bytes", 0))
                measurement.extras["all_peak_bytes"] = peak
                memory = f", {peak / 1e6:,.0f} MB"
            log(f"  round {number} of {rounds}: {name} {seconds:,.2f} s{memory}")


def _first(one: _Set, workers: int) -> tuple[float, float, int]:
    shutil.rmtree(one.corpora / "corpus", ignore_errors=True)
    return _prepare(one, workers)


def _apart(one: _Set) -> tuple[float, float, int]:
    """The best that the cores can give: independent preparations at once, each by one process.

    Each has its own part of the files, so that none finds in the page cache what another one has
    read. Memory is not measured.
    """
    with (
        tempfile.TemporaryDirectory(dir=one.midi.parent, prefix="apart-") as folder,
        tempfile.TemporaryFile() as said,
    ):
        places = [Path(folder) / str(number) for number in range(one.workers)]
        parts = [_Set(place / "midi", place, 1) for place in places]
        for number, path in enumerate(sorted(one.midi.rglob("*.mid"))):
            linked = parts[number % one.workers].midi / path.relative_to(one.midi)
            linked.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, linked)
        start, before = time.perf_counter(), os.times()
        crowd = [
            subprocess.Popen(_command(each, 1), stdout=said, stderr=subprocess.STDOUT)
            for each in parts
        ]
        _demand_success(any([process.wait() for process in crowd]), said)
        seconds, after = time.perf_counter() - start, os.times()
    spent = after.children_user + after.children_system
    return seconds, spent - before.children_user - before.children_system, 0


def _again(one: _Set) -> tuple[float, float, int]:
    return _prepare(one, one.workers)


def _more(one: _Set) -> tuple[float, float, int]:
    """Prepare again with a few more files, then undo that."""
    more, before = one.midi / MORE, one.corpora / "before"
    shutil.copytree(one.corpora / "corpus", before)
    more.mkdir()
    try:
        for path in sorted(one.midi.rglob("*.mid"))[:MORE_FILES]:
            shutil.copyfile(path, more / path.name)
        return _prepare(one, one.workers)
    finally:
        shutil.rmtree(more)
        shutil.rmtree(one.corpora / "corpus")
        before.rename(one.corpora / "corpus")


def _rest(one: _Set) -> tuple[float, float, int]:
    """Prepare, kill it when half of the tokens are parsed, and time the rest."""
    tokens = len(Corpus.open(one.corpora / "corpus").tokens)
    shutil.rmtree(one.corpora / "corpus")
    process = subprocess.Popen(_command(one, one.workers), stdout=subprocess.DEVNULL)
    while process.poll() is None:
        for stream in one.corpora.glob(".corpus.partial-*/stream.u32"):
            if stream.stat().st_size > 4 * tokens / 2:
                process.kill()
        time.sleep(LOOK_SECONDS)
    return _prepare(one, one.workers)


def _prepare(one: _Set, workers: int) -> tuple[float, float, int]:
    """Run the command: seconds, processor seconds, and the sum of its processes' peak bytes."""
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(_command(one, workers), stdout=said, stderr=subprocess.STDOUT)
        peaks: dict[int, int] = {}
        next_look = start
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() > next_look:
                peaks |= _peaks(process.pid)
                next_look += MEMORY_LOOK_SECONDS
            time.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        _demand_success(process.returncode != 0, said)
    return seconds, usage.ru_utime + usage.ru_stime, sum(peaks.values())


def _demand_success(failed: bool, said: IO[bytes]) -> None:
    if failed:
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
        own = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
        raise PrepareError(f"Preparing failed. {' '.join(own[-1:] or lines[-3:])}")


def _command(one: _Set, workers: int) -> list[str]:
    return [
        sys.executable, "-m", "jaxmusic", "prepare", str(one.midi),
        "--corpus", str(one.corpora / "corpus"), "--workers", str(workers),
    ]  # fmt: skip


def _peaks(pid: int) -> dict[int, int]:
    """Peak bytes of memory of a process and each of its children, by pid.

    Shared memory counts for each. Empty where there is no /proc.
    """
    peaks: dict[int, int] = {}
    with contextlib.suppress(OSError, ValueError, IndexError):  # it may end at any moment
        status = Path(f"/proc/{pid}/status").read_text()
        peaks[pid] = 1024 * int(status.partition("VmHWM:")[2].split()[0])
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                peaks |= _peaks(int(child))
    return peaks
