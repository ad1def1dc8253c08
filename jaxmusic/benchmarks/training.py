"""`benchmark.py train`: the training step, alone or against baselines."""

import dataclasses
import itertools
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from jaxmusic.benchmarks.flags import TrainFlags
from jaxmusic.benchmarks.harness.process import (
    BaselineError,
    MeasuredProcess,
    Program,
    jax_environment,
)
from jaxmusic.benchmarks.harness.rounds import Contestant, Log, run_rounds
from jaxmusic.benchmarks.results.machine import datasheet_peak
from jaxmusic.benchmarks.results.measurement import Measurement, Report
from jaxmusic.benchmarks.workload import Workload, training_flop
from jaxmusic.config import PRESETS, ConfigError, Precision
from jaxmusic.corpus.corpus import Corpus

OURS = "jaxmusic"
PROGRAMS = {
    OURS: Program("jaxmusic.benchmarks.ours.training_step"),
    "keras-jax": Program(
        "jaxmusic.benchmarks.baselines.keras", ("keras",), {"KERAS_BACKEND": "jax"}
    ),
    "keras-tensorflow": Program(
        "jaxmusic.benchmarks.baselines.keras",
        ("keras", "tensorflow|tensorflow-cpu"),
        {"KERAS_BACKEND": "tensorflow"},
    ),
    "torch": Program("jaxmusic.benchmarks.baselines.torch", ("torch",)),
    "flax": Program("jaxmusic.benchmarks.baselines.flax"),
    # jaxmusic with its batches from the host, or with the same batches every time: the differences
    # are the cost of the loader.
    "jaxmusic-host": Program("jaxmusic.benchmarks.ours.training_step"),
    "jaxmusic-ready": Program("jaxmusic.benchmarks.ours.training_step"),
}
FED_FROM: dict[str, Literal["host", "ready"]] = {"jaxmusic-host": "host", "jaxmusic-ready": "ready"}
PARTS = (  # of ours/step_parts.py
    "forward and backward", "the same, no dropout", "forward", "forward, no dropout",
    "its recurrent products", "its input products", "optimizer", "drawing masks",
)  # fmt: skip
# Variants of a baseline, of which the fastest is measured.
VARIANTS = {
    ("keras-tensorflow", "f32"): ("xla", "graph"),
    ("keras-tensorflow", "bf16"): ("xla", "graph"),
    ("keras-tensorflow", "tf32"): ("xla", "graph"),
    ("torch", "f32"): ("f32",),
    ("torch", "tf32"): ("tf32",),
    ("torch", "bf16"): ("autocast", "bf16 weights"),
}
# Relative tolerance of a baseline's losses: at the same weights, and after one optimizer step
# (which turns rounding of tiny gradients into steps of full size).
TOLERANCE = {"f32": (1e-4, 1e-2), "tf32": (5e-3, 5e-2), "bf16": (2e-2, 1e-1)}


class WrongLossError(BaselineError):
    """A baseline doesn't compute our loss."""


def workloads(flags: TrainFlags) -> list[Workload]:
    """Return every workload that the flags ask for, checked before anything starts."""
    preset = PRESETS[flags.preset]
    vocabulary = flags.vocabulary_size
    if flags.corpus is not None:
        vocabulary = len(Corpus.open(flags.corpus).vocabulary)
    given: dict[str, Any] = {"layers": flags.layers, "recurrent_dropout": flags.recurrent_dropout}
    model = dataclasses.replace(
        preset.model, **{name: value for name, value in given.items() if value is not None}
    )
    found = [
        Workload(
            dataclasses.replace(model, hidden_size=hidden),
            dataclasses.replace(preset.train, batch_size=batch, precision=precision),
            window=preset.data.window if flags.window is None else flags.window,
            vocabulary_size=vocabulary,
            corpus=flags.corpus,
            steps_per_dispatch=dispatch,
        )
        for hidden, batch, precision, dispatch in itertools.product(
            flags.hidden_size or (model.hidden_size,),
            flags.batch_size or (preset.train.batch_size,),
            flags.precision or (preset.train.precision,),
            flags.steps_per_dispatch,
        )
    ]
    for name in ("vocabulary_size", "rounds", "product_size"):
        if (number := getattr(flags, name)) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {number}, but must be 1 or more.")
    if min(flags.steps_per_dispatch, default=0) < 1:
        raise ConfigError(
            "--steps-per-dispatch must be one number or more, each of them 1 or more."
        )
    for workload in found:
        workload.config.check()
        workload.sampler()
    return found


def parse_against(against: str, preset: str) -> list[str]:
    """Return the names in `--against`.

    Raises ConfigError for an unknown one, and for one that can't compute the preset's network.
    """
    names = list(dict.fromkeys(filter(None, against.replace(" ", "").split(","))))
    for name in names:
        if name not in PROGRAMS or name == OURS:
            known = ", ".join(name for name in PROGRAMS if name != OURS)
            raise ConfigError(f"--against {name}: there is no such baseline; give some of {known}.")
    model = PRESETS[preset].model
    theirs = [name for name in names if not name.startswith(OURS)]
    if theirs and not (model.batch_norm and model.dense_size):
        raise ConfigError(
            f"--against {theirs[0]}: the baselines compute the notebooks' network, with batch norm "
            f"and a dense layer, which {preset} has not; give another preset, or --against ''."
        )
    return names


def run_training(flags: TrainFlags, report: Report, log: Log) -> None:
    """Time each workload of the sweep; add to the report."""
    names = parse_against(flags.against, flags.preset)
    todo = workloads(flags)
    for name in list(names):
        if missing := PROGRAMS[name].missing():
            report.left_out.append(
                f"{name}: {' and '.join(missing)} is not installed (pip install -e '.[bench]')"
            )
            names.remove(name)
    for workload in todo:
        log(workload.label)
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-"))
            weights = Path(folder) / "weights.npz"
            _time_one(workload, names, weights, flags, report, log, stack)


def _time_one(
    workload: Workload,
    names: list[str],
    weights: Path,
    flags: TrainFlags,
    report: Report,
    log: Log,
    stack: ExitStack,
) -> None:
    ours = _start(workload, OURS, "jit", weights, stack)
    expected = ours.process.call("check_losses").result
    ours.measurement.extras["check_losses"] = expected
    ours.warm_up()
    contestants = [ours]
    for name in names:
        best = _fastest_variant(workload, name, weights, expected, report, stack)
        if best is not None:
            contestants.append(best)
    if flags.parts:
        for part in PARTS:
            each = _start(workload, part, part, weights, stack)
            each.warm_up()
            contestants.append(each)
    report.measurements += [each.measurement for each in contestants]
    for each in contestants:
        each.fill(flags.round_seconds, least=2)
        log(f"  {each.measurement.name} is ready: {each.units} steps a round")
    before = _products(contestants, flags.product_size)
    _note_peaks(workload, contestants, before)  # already here, in case Ctrl-C ends the rounds
    going = run_rounds(contestants, flags.rounds, report, log)
    after = _products(going, flags.product_size)
    peaks = {name: max(rate, after.get(name, 0.0)) for name, rate in before.items()}
    _note_peaks(workload, contestants, peaks)


def _start(
    workload: Workload, name: str, variant: str, weights: Path, stack: ExitStack
) -> Contestant:
    program = PROGRAMS.get(name, Program("jaxmusic.benchmarks.ours.step_parts"))
    if name in FED_FROM:
        once = 1 if name == "jaxmusic-host" else workload.steps_per_dispatch
        workload = dataclasses.replace(workload, fed_from=FED_FROM[name], steps_per_dispatch=once)
    environment = {**program.environment, **jax_environment(workload.train.precision)}
    program = dataclasses.replace(program, environment=environment)
    arguments = {"workload": workload.to_json(), "weights": str(weights), "variant": variant}
    process = stack.enter_context(MeasuredProcess(name, program, arguments))
    batch = workload.train.batch_size
    work: dict[str, float] = {"windows": batch}
    extras: dict[str, Any] = {}
    if name in PROGRAMS:
        work["tokens"] = batch * workload.window
        work["flop"] = batch * training_flop(workload)
        extras["variant"] = variant
    else:
        extras["part"] = True
    measurement = Measurement(workload.label, name, "step", work, extras=extras)
    multiple = workload.steps_per_dispatch if name in {OURS, *FED_FROM} else 1
    return Contestant(process, measurement, multiple)


def _fastest_variant(
    workload: Workload,
    name: str,
    weights: Path,
    expected: list[float],
    report: Report,
    stack: ExitStack,
) -> Contestant | None:
    """Return the baseline in its fastest variant with the right loss, or None."""
    best: Contestant | None = None
    wrong, failed = [], []
    for variant in VARIANTS.get((name, workload.train.precision), ("xla",)):
        try:
            each = _start(workload, name, variant, weights, stack)
            losses = each.process.call("check_losses").result
            check_losses(name, losses, expected, workload.train.precision)
            each.measurement.extras["check_losses"] = losses
            each.warm_up()
        except WrongLossError as error:
            wrong.append(f"{error} ({variant}; {workload.label})")
        except BaselineError as error:
            failed.append(f"{error} ({variant}; {workload.label})")
        else:
            if best is not None and best.unit_seconds <= each.unit_seconds:
                each.process.close()
            else:
                if best is not None:
                    best.process.close()
                best = each
    if best is None:
        report.refused += wrong
        report.left_out += failed
    else:
        report.left_out += wrong + failed
    return best


def check_losses(name: str, theirs: list[float], ours: list[float], precision: Precision) -> None:
    """Check that a baseline computes our loss.

    Raises WrongLossError with the first loss that differs by more than rounding does.
    """
    # A baseline with another optimizer gives one loss only.
    for number, (their, our) in enumerate(zip(theirs, ours, strict=False)):
        tolerance = TOLERANCE[precision][number]
        if not abs(their - our) <= tolerance * abs(our):
            when = "at the same weights" if number == 0 else "after one step"
            raise WrongLossError(
                f"{name}: its loss {when} is {their:.6f}, ours is {our:.6f} (they may differ by "
                f"{tolerance:g} of it): a benchmark of wrong results is refused"
            )


def _products(contestants: list[Contestant], size: int) -> dict[str, float]:
    """Measure the FLOP/s of a large matrix product, in the libraries that offer it."""
    return {
        each.measurement.name: each.process.call("product_rate", size=size, repeats=4).result
        for each in contestants
        if each.measurement.name in {OURS, "torch"}
    }


def _note_peaks(
    workload: Workload, contestants: list[Contestant], products: dict[str, float]
) -> None:
    """Note the same peak for all: the fastest product of any library on this machine."""
    _, kind, count = contestants[0].measurement.extras["device"]
    datasheet = datasheet_peak(kind, workload.train.precision)
    for each in contestants:
        if "flop" not in each.measurement.work:
            continue  # a part
        each.measurement.extras["peak_flops"] = max(products.values())
        if datasheet is not None:
            each.measurement.extras["datasheet_flops"] = datasheet * count
    contestants[0].measurement.extras["product_flops"] = products
