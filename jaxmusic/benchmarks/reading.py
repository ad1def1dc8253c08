"""`benchmark.py data`: from MIDI files to a corpus, and from a corpus to batches."""

import dataclasses
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jaxmusic.benchmarks.flags import DataFlags
from jaxmusic.benchmarks.harness.process import BaselineError, MeasuredProcess, Program
from jaxmusic.benchmarks.harness.rounds import Contestant, Log, run_rounds
from jaxmusic.benchmarks.results.measurement import Measurement, Report
from jaxmusic.benchmarks.workload import Workload
from jaxmusic.config import PRESETS, ConfigError
from jaxmusic.preparation.scan import find_files

READERS = ("mido", "pretty_midi", "symusic", "music21")
LOOP_WINDOWS = 2_000  # windows on which the notebooks' loops are timed


def run_data(flags: DataFlags, report: Report, log: Log) -> None:
    """Time reading files, then making batches; add to the report."""
    for name in ("copies", "batch_size", "music21_files", "rounds", "workers"):
        count = getattr(flags, name)
        if count is not None and count < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {count}, but must be 1 or more.")
    source = Path(flags.midi_dir)
    paths = find_files(source).files
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        for copy in range(flags.copies):
            _copy(source, paths, folder / "all" / str(copy))
        every = max(1, len(paths) // flags.music21_files)
        _copy(source, paths[::every][: flags.music21_files], folder / "few")
        log(f"{len(paths)} files, {flags.copies} times over")
        _time_reading(flags, folder, report, log, stack)
    with ExitStack() as stack:
        _time_batches(flags, report, log, stack)


def _time_reading(
    flags: DataFlags, folder: Path, report: Report, log: Log, stack: ExitStack
) -> None:
    group = "Reading MIDI files"
    every, few = folder / "all", folder / "few"
    workers = flags.workers or os.cpu_count() or 1

    def start(name: str, way: str, where: Path, count: int, program: Program) -> Contestant:
        arguments = {"way": way, "folder": str(where), "workers": count}
        files = [path for path in where.rglob("*") if path.is_file()]
        work = {"MB": sum(path.stat().st_size for path in files) / 1e6, "files": len(files)}
        process = stack.enter_context(MeasuredProcess(name, program, arguments))
        return Contestant(process, Measurement(group, name, "pass over its files", work))

    ours = Program("jaxmusic.benchmarks.baselines.midi_readers")
    contestants = [start("jaxmusic, 1 process", "jaxmusic", every, 1, ours)]
    if workers > 1:
        contestants.append(
            start(f"jaxmusic, {workers} processes", "jaxmusic", every, workers, ours)
        )
    for name in READERS:
        from_folder = name == "music21" and flags.music21 is not None
        environment = {"PYTHONPATH": str(flags.music21)} if from_folder else {}
        program = Program(
            "jaxmusic.benchmarks.baselines.midi_readers",
            () if from_folder else (name,),
            environment,
        )
        if missing := program.missing():
            report.left_out.append(f"{name}: {missing[0]} is not installed")
            continue
        try:
            each = start(name, name, few if name == "music21" else every, 1, program)
            if name == "music21":
                _compare_tokens(each, start("", "jaxmusic", few, 1, ours), report)
        except BaselineError as error:
            report.left_out.append(str(error))
        else:
            contestants.append(each)
    _warm_up_and_run(contestants, flags, report, log)


def _compare_tokens(theirs: Contestant, ours: Contestant, report: Report) -> None:
    """Check that jaxmusic gives music21's tokens for the files that are timed."""
    expected = theirs.process.call("tokens").result
    found = ours.process.call("tokens").result
    ours.process.close()
    if expected is None:
        return
    wrong = sum(a != b for a, b in zip(expected, found, strict=True))
    if wrong:
        report.refused.append(
            f"jaxmusic's tokens of {wrong} of {len(found)} files differ from music21's: a "
            "benchmark of wrong results is refused"
        )


def _time_batches(flags: DataFlags, report: Report, log: Log, stack: ExitStack) -> None:
    preset = PRESETS["classic"]
    train = dataclasses.replace(preset.train, batch_size=flags.batch_size)
    workload = Workload(preset.model, train, window=preset.data.window)
    group = f"Making batches of {flags.batch_size} windows of {workload.window} tokens"
    contestants = []
    for name, unit, windows in (
        ("jaxmusic", "batch", flags.batch_size),
        ("notebook loops", f"{LOOP_WINDOWS:,} windows", LOOP_WINDOWS),
    ):
        arguments: dict[str, Any] = {
            "workload": workload.to_json(), "way": name, "windows": LOOP_WINDOWS
        }  # fmt: skip
        process = stack.enter_context(
            MeasuredProcess(name, Program("jaxmusic.benchmarks.baselines.batches"), arguments)
        )
        contestants.append(
            Contestant(process, Measurement(group, name, unit, {"windows": windows}))
        )
    _warm_up_and_run(contestants, flags, report, log)


def _warm_up_and_run(
    contestants: list[Contestant], flags: DataFlags, report: Report, log: Log
) -> None:
    for each in contestants:
        each.warm_up()
        del each.measurement.extras["compile_seconds"]  # nothing is compiled here
        each.fill(flags.round_seconds, least=1)
    report.measurements += [each.measurement for each in contestants]
    run_rounds(contestants, flags.rounds, report, log)


def _copy(source: Path, paths: list[str], target: Path) -> None:
    for path in paths:
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, copy)
