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
from fault_injection.life import Blow, Life, live, usual_seconds
from fault_injection.report import HEADER, Stop, as_json, stop_line, summary_lines
from fault_injection.verdict import broken_metrics, difference
from fault_injection.victim import PHASES, Phase

from jaxmusic.benchmarks.results.output_files import check_new_folder, check_output
from jaxmusic.config import ConfigError
from jaxmusic.errors import UserError
from jaxmusic.preparation.scan import find_files
from jaxmusic.runtime.paths import LocalPath, OptionalPath, with_local_paths
from jaxmusic.storage.json_text import render_json
from jaxmusic.storage.outputs import write_output

REPOSITORY = Path(__file__).resolve().parents[3]
# A network that learns some hundred steps a second, with dropout of both kinds, held-out songs and
# a checkpoint three times a second.
TRAINING = (
    "classic", "--hidden-size", "16", "--dense-size", "16", "--layers", "2", "--window", "20",
    "--stride", "10", "--batch-size", "32", "--held-out", "0.1", "--log-steps", "1",
    "--checkpoint-minutes", "0.005", "--run-dir", "run", "--workers", "1",
)  # fmt: skip
# Beyond these a phase is struck at its first time.
MOST_TURNS = {"stepping": 30, "evaluating": 3, "saving": 4, "saved": 4}
GONE_SECONDS = 10.0  # after SIGTERM or Ctrl-C
# Saving goes on in the background after `saved`.
LEAST_SECONDS = {"saving": 0.05, "saved": 0.2, "starting": 1.0}


class TortureError(UserError):
    """A promise was broken."""


@dataclass(frozen=True)
class Flags:
    """Stop trainings at random moments of all their phases, and see that nothing is lost."""

    # How often.
    stops: int = 100
    # By which signals.
    signals: tuple[Literal["KILL", "TERM", "INT"], ...] = ("KILL",)
    # In which phases.
    phases: tuple[Phase, ...] = PHASES
    # Processes that train together; one of them gets the signal.
    processes: int = 1
    # Of the moments: the same seed, the same phases and shares of them.
    seed: int = 0
    # Epochs of a run; when one ends before all stops are spent, another begins.
    epochs: int = 40
    # Folder of MIDI files.
    midi_dir: LocalPath = str(REPOSITORY / "midi_songs")
    # Where the runs lie (default: a temporary folder, removed when all is well).
    folder: OptionalPath = None
    # Write every stop to this file.
    json: OptionalPath = None


def main(program: str, arguments: Sequence[str]) -> None:
    """Read the flags, train one run in peace, then others under blows; compare."""
    flags = with_local_paths(tyro.cli(Flags, args=arguments, prog=program))
    for name in ("stops", "processes", "epochs"):
        if (number := getattr(flags, name)) < 1:
            raise ConfigError(f"--{name} is {number}, but must be 1 or more.")
    for name in ("signals", "phases"):
        if not getattr(flags, name):
            raise ConfigError(f"--{name} is empty: give one or more.")
    if flags.processes > 1 and set(flags.phases) == {"starting"}:
        raise ConfigError(
            "--phases starting is for --processes 1: several know of each other only once joined."
        )
    if set(flags.phases) == {"ending"} and "KILL" not in flags.signals:
        raise ConfigError(
            "--phases ending takes --signals KILL: nothing else stops a run whose steps are done."
        )
    find_files(Path(flags.midi_dir))
    check_output("--json", flags.json)
    if flags.folder is not None:
        check_new_folder(f"--folder {flags.folder}", Path(flags.folder))
    kept = flags.folder or tempfile.mkdtemp(prefix="torture-")
    folder = Path(kept).resolve()
    training = [*TRAINING, "--epochs", str(flags.epochs)]
    training += ["--midi-dir", str(Path(flags.midi_dir).resolve())]
    stops: list[Stop] = []
    try:
        _torture(flags, folder, training, stops)
    finally:
        for line in summary_lines(stops):
            print(line)
        if flags.json is not None:
            write_output(flags.json, render_json(as_json(stops), indent=1) + "\n")
        print(f"The runs lie in {folder}.")
    if flags.folder is None:
        shutil.rmtree(folder)


def _torture(flags: Flags, folder: Path, training: Sequence[str], stops: list[Stop]) -> None:
    peace = _new(folder / "in-peace")
    whole = live(training, peace, None, {}, processes=flags.processes)
    _demand(not any(whole.codes), f"the run in peace failed: {whole.outputs}")
    usual = usual_seconds(whole)
    usual |= {phase: max(least, usual.get(phase, 0)) for phase, least in LEAST_SECONDS.items()}
    print(f"A run in peace: {whole.step:,} steps. Now others, stopped {flags.stops} times.")
    print(HEADER, flush=True)

    draw = random.Random(flags.seed)
    struck, run = 0, 0
    while struck < flags.stops:
        run += 1
        place = _new(folder / f"run-{run}")
        before: Life | None = None
        while True:
            blow = _draw_blow(draw, flags) if struck < flags.stops else None
            life = live(training, place, blow, usual, processes=flags.processes)
            if before is not None:
                stops.append(_stop(len(stops) + 1, run, before, life))
                print(stop_line(stops[-1]), flush=True)
            _check(life, before, place / "run")
            if life.blow is None:
                break
            struck += 1
            before = life
        unlike = difference(peace / "run", place / "run")
        _demand(not unlike, f"run {run} is not the one in peace: {unlike}")
        print(f"Run {run} is over: bit for bit the one in peace.", flush=True)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _draw_blow(draw: random.Random, flags: Flags) -> Blow:
    # Processes that have not joined yet know nothing of each other: who is stopped then is waited
    # for, as one that is late.
    phases = [each for each in flags.phases if flags.processes == 1 or each != "starting"]
    phase = draw.choice(phases)
    return Blow(
        signal.Signals[f"SIG{draw.choice(flags.signals)}"],
        phase,
        turn=draw.randint(1, MOST_TURNS.get(phase, 1)),
        share=draw.random(),
        process=draw.randrange(flags.processes),
    )


def _stop(number: int, run: int, life: Life, following: Life) -> Stop:
    assert life.blow is not None
    return Stop(
        number,
        run,
        life.blow.number.name.removeprefix("SIG"),
        life.blow.process,
        life.phase,
        life.step,
        following.begun_at,
        life.seconds_to_end,
        life.codes,
    )


def _check(life: Life, before: Life | None, run_dir: Path) -> None:
    """Everything that can be said of a life without the end of its run."""
    words = "\n".join(life.outputs)
    _demand("Traceback" not in words, f"a traceback:\n{words}")
    expected = [0] * len(life.codes)
    if life.blow is not None:
        others = {signal.SIGKILL: 1, signal.SIGTERM: 75, signal.SIGINT: 130}[life.blow.number]
        expected = [others] * len(life.codes)
        if life.blow.number == signal.SIGKILL:
            expected[life.blow.process] = -signal.SIGKILL
        else:
            slow = life.seconds_to_end > GONE_SECONDS
            _demand(not slow, f"gone {life.seconds_to_end:.1f} s after the signal only:\n{words}")
    _demand(life.codes == expected, f"exit codes {life.codes}, not {expected}:\n{words}")
    broken = broken_metrics(run_dir)
    _demand(not broken, broken)
    if before is not None:
        saved = re.search(r"Stopped and saved after step ([\d,]+):", before.outputs[0])
        least = int(saved[1].replace(",", "")) if saved else before.begun_at or 0
        begun_at = least if life.begun_at is None else life.begun_at
        _demand(
            begun_at == least if saved else begun_at >= least,
            f"it went on after step {begun_at}, where {least} was saved:\n{words}",
        )


def _demand(kept: bool, fault: str) -> None:
    if not kept:
        sentence, _, outputs = fault.partition("\n")
        print(outputs, file=sys.stderr)
        raise TortureError(f"A promise is broken: {sentence}")
