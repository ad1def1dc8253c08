"""Kill trainings at random moments, resume them, and check that nothing is lost."""

import random
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from fault_injection.comparison import broken_metrics, difference
from fault_injection.instrumented_trainer import PHASES, Phase
from fault_injection.report import HEADER, Stop, as_json, stop_line, summary_lines
from fault_injection.trial import InjectedSignal, Trial, median_seconds, run_trial

from jaxmusic.benchmarks.results.output_files import check_new_folder, check_output
from jaxmusic.config import ConfigError
from jaxmusic.errors import UserError
from jaxmusic.preparation.scan import find_files
from jaxmusic.runtime.paths import LocalPath, OptionalPath, with_local_paths
from jaxmusic.storage.json_text import render_json
from jaxmusic.storage.outputs import write_output

REPOSITORY = Path(__file__).resolve().parents[3]
# A network that trains some hundred steps a second, with dropout of both kinds, held-out songs and
# three checkpoints a second.
TRAINING = (
    "classic", "--hidden-size", "16", "--dense-size", "16", "--layers", "2", "--window", "20",
    "--stride", "10", "--batch-size", "32", "--held-out", "0.1", "--log-steps", "1",
    "--checkpoint-minutes", "0.005", "--run-dir", "run", "--workers", "1",
)  # fmt: skip
# Up to which occurrence a phase is stopped (others: the first).
MAX_OCCURRENCES = {"stepping": 30, "evaluating": 3, "saving": 4, "saved": 4}
MAX_STOP_SECONDS = 10.0  # after SIGTERM or Ctrl-C
# Saving goes on in the background after `saved`.
LEAST_SECONDS = {"saving": 0.05, "saved": 0.2, "starting": 1.0}


class LostDataError(UserError):
    """A stopped run lost something, or ended wrongly."""


@dataclass(frozen=True)
class Flags:
    """Stop trainings at random moments of all their phases, and check that nothing is lost."""

    # Number of stops.
    stops: int = 100
    # Signals to send.
    signals: tuple[Literal["KILL", "TERM", "INT"], ...] = ("KILL",)
    # Phases in which to stop.
    phases: tuple[Phase, ...] = PHASES
    # Processes that train together; one of them gets the signal.
    processes: int = 1
    # Seed of the moments: their phases, and how far into them.
    seed: int = 0
    # Epochs of a run; when it ends before all stops are done, another starts.
    epochs: int = 40
    # Folder of MIDI files.
    midi_dir: LocalPath = str(REPOSITORY / "midi_songs")
    # Folder for the runs (default: a temporary one, removed on success).
    folder: OptionalPath = None
    # Write every stop to this file.
    json: OptionalPath = None


def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, train one run undisturbed, then others with stops; compare."""
    flags = with_local_paths(tyro.cli(Flags, args=arguments, prog=program))
    for name in ("stops", "processes", "epochs"):
        if (number := getattr(flags, name)) < 1:
            raise ConfigError(f"--{name} is {number}, but must be 1 or more.")
    for name in ("signals", "phases"):
        if not getattr(flags, name):
            raise ConfigError(f"--{name} is empty: give one or more.")
    if flags.processes > 1 and set(flags.phases) == {"starting"}:
        raise ConfigError(
            "--phases starting is for --processes 1: several processes know of each other only "
            "once joined."
        )
    if set(flags.phases) == {"ending"} and "KILL" not in flags.signals:
        raise ConfigError(
            "--phases ending takes --signals KILL: nothing else stops a run whose steps are done."
        )
    find_files(Path(flags.midi_dir))
    check_output("--json", flags.json)
    if flags.folder is not None:
        check_new_folder(f"--folder {flags.folder}", Path(flags.folder))
    kept = flags.folder or tempfile.mkdtemp(prefix="inject-faults-")
    folder = Path(kept).resolve()
    training = [*TRAINING, "--epochs", str(flags.epochs)]
    training += ["--midi-dir", str(Path(flags.midi_dir).resolve())]
    stops: list[Stop] = []
    try:
        _inject(flags, folder, training, stops)
    finally:
        for line in summary_lines(stops):
            print(line)
        if flags.json is not None:
            write_output(flags.json, render_json(as_json(stops), indent=1) + "\n")
        print(f"The runs are in {folder}.")
    if flags.folder is None:
        shutil.rmtree(folder)


def _inject(flags: Flags, folder: Path, training: Sequence[str], stops: list[Stop]) -> None:
    undisturbed = _new(folder / "undisturbed")
    whole = run_trial(training, undisturbed, None, {}, processes=flags.processes)
    _demand(not any(whole.codes), f"the undisturbed run failed: {whole.outputs}")
    usual = median_seconds(whole)
    usual |= {phase: max(least, usual.get(phase, 0)) for phase, least in LEAST_SECONDS.items()}
    print(f"The undisturbed run has {whole.step:,} steps. Now others, stopped {flags.stops} times.")
    print(HEADER, flush=True)

    draw = random.Random(flags.seed)
    injected_count, run = 0, 0
    while injected_count < flags.stops:
        run += 1
        run_folder = _new(folder / f"run-{run}")
        before: Trial | None = None
        while True:
            injected = _draw_signal(draw, flags) if injected_count < flags.stops else None
            trial = run_trial(training, run_folder, injected, usual, processes=flags.processes)
            if before is not None:
                stops.append(_stop(len(stops) + 1, run, before, trial))
                print(stop_line(stops[-1]), flush=True)
            _check(trial, before, run_folder / "run")
            if trial.injected is None:
                break
            injected_count += 1
            before = trial
        unlike = difference(undisturbed / "run", run_folder / "run")
        _demand(not unlike, f"run {run} differs from the undisturbed one: {unlike}")
        print(f"Run {run} is over: bit for bit the undisturbed one.", flush=True)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _draw_signal(draw: random.Random, flags: Flags) -> InjectedSignal:
    # Processes that have not joined yet know nothing of each other: one that is stopped then is
    # waited for like a late one.
    phases = [each for each in flags.phases if flags.processes == 1 or each != "starting"]
    phase = draw.choice(phases)
    return InjectedSignal(
        signal.Signals[f"SIG{draw.choice(flags.signals)}"],
        phase,
        occurrence=draw.randint(1, MAX_OCCURRENCES.get(phase, 1)),
        share=draw.random(),
        process=draw.randrange(flags.processes),
    )


def _stop(number: int, run: int, trial: Trial, next_trial: Trial) -> Stop:
    assert trial.injected is not None
    return Stop(
        number,
        run,
        trial.injected.number.name.removeprefix("SIG"),
        trial.injected.process,
        trial.phase,
        trial.step,
        next_trial.resumed_at,
        trial.seconds_to_end,
        trial.codes,
    )


def _check(trial: Trial, before: Trial | None, run_dir: Path) -> None:
    """Check all that must hold for a trial, whatever the end of its run."""
    words = "\n".join(trial.outputs)
    _demand("Traceback" not in words, f"a traceback:\n{words}")
    expected = [0] * len(trial.codes)
    if trial.injected is not None:
        of_others = {signal.SIGKILL: 1, signal.SIGTERM: 75, signal.SIGINT: 130}[
            trial.injected.number
        ]
        expected = [of_others] * len(trial.codes)
        if trial.injected.number == signal.SIGKILL:
            expected[trial.injected.process] = -signal.SIGKILL
        else:
            slow = trial.seconds_to_end > MAX_STOP_SECONDS
            _demand(not slow, f"it ended {trial.seconds_to_end:.1f} s after the signal:\n{words}")
    _demand(trial.codes == expected, f"exit codes {trial.codes}, not {expected}:\n{words}")
    broken = broken_metrics(run_dir)
    _demand(not broken, broken)
    if before is not None:
        saved = re.search(r"Stopped and saved after step ([\d,]+):", before.outputs[0])
        least = int(saved[1].replace(",", "")) if saved else before.resumed_at or 0
        resumed_at = least if trial.resumed_at is None else trial.resumed_at
        _demand(
            resumed_at == least if saved else resumed_at >= least,
            f"it resumed after step {resumed_at}, where {least} was saved:\n{words}",
        )


def _demand(holds: bool, fault: str) -> None:
    if not holds:
        sentence, _, outputs = fault.partition("\n")
        print(outputs, file=sys.stderr)
        raise LostDataError(f"A check failed: {sentence}")
