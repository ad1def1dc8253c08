"""`benchmark.py scaling`: training on more and more devices, in one process and in several."""

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from jaxmusic.benchmarks.flags import ScalingFlags
from jaxmusic.benchmarks.harness.process import (
    BaselineError,
    MeasuredProcess,
    Program,
    jax_environment,
)
from jaxmusic.benchmarks.harness.rounds import Contestant, Log, run_rounds
from jaxmusic.benchmarks.ours.multi_device import visible_gpus
from jaxmusic.benchmarks.results.measurement import Measurement, Report
from jaxmusic.benchmarks.results.statistics import pair_ratios, summarise
from jaxmusic.benchmarks.training import WrongLossError, check_losses
from jaxmusic.benchmarks.workload import Workload
from jaxmusic.config import PRESETS, ConfigError

PROFILED_STEPS = 20  # at most: a profile has thousands of events a step


@dataclass(frozen=True)
class Configuration:
    """Devices, and the processes that share them."""

    devices: int
    processes: int

    @property
    def name(self) -> str:
        """For a person."""
        words = "1 device" if self.devices == 1 else f"{self.devices} devices"
        return words if self.processes == 1 else f"{words}, {self.processes} processes"


ALONE = Configuration(1, 1)


def configurations(flags: ScalingFlags) -> list[Configuration]:
    """Return one device in one process, then all others that the flags ask for.

    Raises ConfigError for numbers that give none.
    """
    for name, numbers in (("--devices", flags.devices), ("--processes", flags.processes)):
        if not numbers or min(numbers) < 1:
            raise ConfigError(f"{name} must be one number or more, each of them 1 or more.")
    found = [ALONE]
    for processes in sorted(set(flags.processes)):
        shared = [devices for devices in sorted(set(flags.devices)) if devices % processes == 0]
        if not shared:
            raise ConfigError(
                f"--processes {processes}: none of --devices {' '.join(map(str, flags.devices))} "
                f"can be shared equally by so many; add a multiple of {processes}."
            )
        found += [Configuration(devices, processes) for devices in shared]
    return list(dict.fromkeys(found))


def workload_for(flags: ScalingFlags, configuration: Configuration) -> Workload:
    """Return the network and the batch that the devices of a configuration share.

    Raises ConfigError for settings out of their range.
    """
    preset = PRESETS[flags.preset]
    if flags.vocabulary_size < 1:
        raise ConfigError(f"--vocabulary-size is {flags.vocabulary_size}, but must be 1 or more.")
    sizes = {"hidden_size": flags.hidden_size, "layers": flags.layers}
    train = {"batch_size": flags.batch_size, "precision": flags.precision}
    workload = Workload(
        dataclasses.replace(preset.model, **_given(sizes)),
        dataclasses.replace(preset.train, **_given(train)),
        window=preset.data.window if flags.window is None else flags.window,
        vocabulary_size=flags.vocabulary_size,
    )
    workload.config.check()
    if flags.weak:
        batch_size = workload.train.batch_size * configuration.devices
        train_config = dataclasses.replace(workload.train, batch_size=batch_size)
        workload = dataclasses.replace(workload, train=train_config)
    workload.sampler()
    return workload


def run_scaling(flags: ScalingFlags, report: Report, log: Log) -> None:
    """Time each configuration; add to the report."""
    if flags.rounds < 1:
        raise ConfigError(f"--rounds is {flags.rounds}, but must be 1 or more.")
    todo = configurations(flags)
    workloads = {each: workload_for(flags, each) for each in todo}
    batch_of = "for each device" if flags.weak else "for all devices together"
    group = f"{workloads[ALONE].label}, {batch_of}"
    log(group)
    report.notes += _notes(flags)
    ready: dict[Configuration, Contestant] = {}
    with ExitStack() as stack:
        stack.callback(_conclude, ready, report)  # after Ctrl-C too
        for each in todo:
            with ExitStack() as own:
                contestant = _ready(each, workloads[each], group, ready, flags, report, own)
                if contestant is None:
                    continue
                ready[each] = contestant
                report.measurements.append(contestant.measurement)
                log(f"  {each.name}: ready, {contestant.units} steps a round")
                if flags.one_at_a_time:
                    run_rounds([contestant], flags.rounds, report, log)
                else:
                    stack.push(own.pop_all())
        if not flags.one_at_a_time:
            run_rounds(list(ready.values()), flags.rounds, report, log)


def _ready(
    configuration: Configuration,
    workload: Workload,
    group: str,
    ready: dict[Configuration, Contestant],
    flags: ScalingFlags,
    report: Report,
    stack: ExitStack,
) -> Contestant | None:
    """Start a configuration and check its loss; if that fails, report why and return None."""
    reason = _obstacle(configuration, ready, flags)
    if reason is not None:
        report.left_out.append(f"{configuration.name}: {reason}")
        return None
    try:
        contestant = _start(configuration, workload, group, flags, stack)
        if ALONE in ready and not flags.weak:  # else the batches differ, and so do the losses
            theirs, ours = (
                each.measurement.extras["first_loss"] for each in (contestant, ready[ALONE])
            )
            check_losses(configuration.name, [theirs], [ours], workload.train.precision)
    except WrongLossError as error:
        report.refused.append(str(error))
    except BaselineError as error:
        report.left_out.append(str(error))
    else:
        return contestant
    return None


def _start(
    configuration: Configuration,
    workload: Workload,
    group: str,
    flags: ScalingFlags,
    stack: ExitStack,
) -> Contestant:
    """Start a configuration: compiled, warmed up and profiled."""
    devices = configuration.devices // configuration.processes
    environment = {"JAX_NUM_CPU_DEVICES": str(devices)}
    if configuration.processes > 1:
        environment["JAX_CUDA_VISIBLE_DEVICES"] = visible_gpus(0, devices)
    environment |= jax_environment(workload.train.precision)
    arguments = {
        "workload": workload.to_json(), "devices": devices, "processes": configuration.processes,
    }  # fmt: skip
    program = Program("jaxmusic.benchmarks.ours.multi_device", environment=environment)
    process = stack.enter_context(MeasuredProcess(configuration.name, program, arguments))
    measurement = Measurement(
        group, configuration.name, "step", {"windows": workload.train.batch_size}
    )
    contestant = Contestant(process, measurement)
    contestant.warm_up()
    # The second step still allocates memory, so it takes longer than those that follow.
    contestant.unit_seconds = process.call("run", steps=2).seconds / 2
    contestant.fill(flags.round_seconds, least=2)
    shares = process.call("profile", steps=min(contestant.units, PROFILED_STEPS)).result
    measurement.extras |= {f"{name}_share": share for name, share in shares.items()}
    return contestant


def _obstacle(
    configuration: Configuration, ready: dict[Configuration, Contestant], flags: ScalingFlags
) -> str | None:
    """Return why a configuration can't run here, if the first one showed it."""
    if ALONE not in ready:
        return None
    extras = ready[ALONE].measurement.extras
    if extras["platform"] == "cpu":
        return None
    if configuration.devices > extras["available"]:
        return f"there are {extras['available']} here"
    if extras["platform"] == "tpu" and configuration.processes > 1:
        return "several processes on one TPU host are not measured"
    if extras["platform"] == "tpu" and not flags.one_at_a_time:
        return "a TPU serves one process at a time: add --one-at-a-time"
    return None


def _conclude(ready: dict[Configuration, Contestant], report: Report) -> None:
    """Add throughput relative to one device, and efficiency (medians of pairs)."""
    if any(each.measurement.extras["platform"] == "cpu" for each in ready.values()):
        report.notes += _virtual_devices_note(report.machine["cores"])
    if ALONE not in ready or not (alone := ready[ALONE].measurement).samples:
        return
    for configuration, contestant in ready.items():
        each = contestant.measurement
        if each.samples:
            more_work = each.work["windows"] / alone.work["windows"]
            ratio = summarise(pair_ratios(each.samples, alone.samples)).median * more_work
            each.extras["of_one_device"] = ratio
            each.extras["efficiency"] = ratio / configuration.devices


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _notes(flags: ScalingFlags) -> list[str]:
    scaling = (
        "Weak scaling: each device has the same number of windows a step."
        if flags.weak
        else "Strong scaling: all devices together have the same number of windows a step, as "
        "--batch-size does in training (--weak: each device has that many)."
    )
    return [
        f"{scaling} Efficiency: windows/s divided by (devices x windows/s of one device).",
        "Collectives: share of the devices' time between entering and leaving an all-reduce, from "
        "a profile (jax.profiler) of the same program before the rounds; mean over all devices. "
        "Waiting: the part of it before the last device entered.",
    ]


def _virtual_devices_note(cores: int) -> list[str]:
    return [
        f"The devices are virtual: they share {cores} cores, all of which one device already uses. "
        "At best n of them do as much as one, an efficiency of 1/n. What this shows is the column "
        "'of 1 device': the throughput that remains after the cost of dividing the batch, of "
        "collectives and of several processes. It can't show how n real devices scale: each has "
        "arithmetic units of its own, and waits for a network, not for a core.",
    ]
