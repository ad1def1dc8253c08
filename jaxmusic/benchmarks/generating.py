"""`benchmark.py generate`: tokens per second, of one piece and of several at a time."""

import dataclasses
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jaxmusic.benchmarks.flags import GenerateFlags
from jaxmusic.benchmarks.harness.process import BaselineError, MeasuredProcess, Program
from jaxmusic.benchmarks.harness.rounds import Contestant, Log, run_rounds
from jaxmusic.benchmarks.results.measurement import Measurement, Report
from jaxmusic.benchmarks.training import OURS, PROGRAMS, parse_against
from jaxmusic.benchmarks.workload import Workload
from jaxmusic.config import PRESETS, ConfigError
from jaxmusic.sampling.context import WindowMethod

COMPARED = 3  # tokens on which each baseline must agree
# jaxmusic without open windows: each window runs through the network from its beginning.
WHOLE_WINDOWS = f"{OURS}, whole windows"


def run_generating(flags: GenerateFlags, report: Report, log: Log) -> None:
    """Time each number of pieces; add to the report."""
    for name in ("length", "vocabulary_size", "rounds"):
        if (number := getattr(flags, name)) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {number}, but must be 1 or more.")
    if not flags.pieces or min(flags.pieces) < 1:
        raise ConfigError("--pieces must be one number or more, each of them 1 or more.")
    names = parse_against(flags.against, flags.preset)
    if others := [name for name in names if not name.startswith("keras")]:
        raise ConfigError(
            f"--against {others[0]}: only Keras's way of generating is "
            "compared; give keras-jax, keras-tensorflow, both or ''."
        )
    for name in list(names):
        if missing := PROGRAMS[name].missing():
            report.left_out.append(f"{name}: {' and '.join(missing)} is not installed")
            names.remove(name)
    preset = PRESETS[flags.preset]
    hidden = preset.model.hidden_size if flags.hidden_size is None else flags.hidden_size
    workload = Workload(
        dataclasses.replace(preset.model, hidden_size=hidden),
        preset.train,
        window=preset.data.window if flags.window is None else flags.window,
        vocabulary_size=flags.vocabulary_size,
    )
    workload.config.check()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for pieces in flags.pieces:
            log(f"{pieces} at a time")
            with ExitStack() as stack:
                _time_one(workload, pieces, names, Path(folder), flags, report, log, stack)


def _time_one(
    workload: Workload,
    pieces: int,
    names: list[str],
    folder: Path,
    flags: GenerateFlags,
    report: Report,
    log: Log,
    stack: ExitStack,
) -> None:
    model = workload.model
    group = f"{model.layers} x {model.hidden_size}, pieces made at a time: {pieces}"
    arguments = {
        "workload": workload.to_json(), "weights": str(folder / "weights.npz"),
        "pieces": pieces, "length": flags.length,
    }  # fmt: skip

    def start(
        name: str, program: Program, multiple: int, method: WindowMethod = "auto"
    ) -> Contestant:
        process = stack.enter_context(
            MeasuredProcess(name, program, {**arguments, "method": method})
        )
        measurement = Measurement(group, name, "token of each piece", {"tokens": pieces})
        return Contestant(process, measurement, multiple)

    own_program = Program("jaxmusic.benchmarks.ours.generation")
    ours = start(OURS, own_program, flags.length)
    expected: list[int] = ours.process.call("first_tokens").result
    contestants = [ours]
    if model.objective == "last":
        whole = start(WHOLE_WINDOWS, own_program, flags.length, "whole")
        if (found := whole.process.call("first_tokens").result) != expected:
            report.refused.append(refusal(WHOLE_WINDOWS, found, expected))
        else:
            contestants.append(whole)
    # Our network continues from its carry, which remembers more than Keras's window: with the
    # objective `every` only the first token is the same.
    compared = COMPARED if model.objective == "last" else 1
    for name in names:
        program = dataclasses.replace(
            PROGRAMS[name], module="jaxmusic.benchmarks.baselines.keras_generation"
        )
        try:
            each = start(name, program, 1)
            count = min(compared, len(expected))
            theirs: Any = each.process.call("first_tokens", count=count).result
        except BaselineError as error:
            report.left_out.append(str(error))
            continue
        if theirs != expected[:count]:
            report.refused.append(refusal(name, theirs, expected[:count]))
            continue
        contestants.append(each)
    for each in contestants:
        each.warm_up()
        each.fill(flags.round_seconds, least=1)
    report.measurements += [each.measurement for each in contestants]
    run_rounds(contestants, flags.rounds, report, log)


def refusal(name: str, found: object, expected: list[int]) -> str:
    """Why a contestant with other tokens is not measured."""
    return (
        f"{name}: its next tokens are {found}, ours are {expected}: a benchmark of wrong results "
        "is refused"
    )
