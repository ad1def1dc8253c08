"""Measure training steps, scaling, reading, preparing and generating."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from jaxmusic.benchmarks.flags import (
    DataFlags,
    GenerateFlags,
    OutputFlags,
    PrepareFlags,
    ScalingFlags,
    TrainFlags,
)  # fmt: skip
from jaxmusic.benchmarks.generating import run_generating
from jaxmusic.benchmarks.preparing import run_preparing
from jaxmusic.benchmarks.reading import run_data
from jaxmusic.benchmarks.scaling import run_scaling
from jaxmusic.benchmarks.session import run_session
from jaxmusic.benchmarks.training import run_training
from jaxmusic.runtime.paths import with_local_paths


@dataclass(frozen=True)
class Train:
    """Time the training step of a preset, for every combination of the sizes given."""

    flags: tyro.conf.OmitArgPrefixes[TrainFlags] = field(default_factory=TrainFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


@dataclass(frozen=True)
class Scaling:
    """Time a preset's training on more and more devices, and in several processes."""

    flags: tyro.conf.OmitArgPrefixes[ScalingFlags] = field(default_factory=ScalingFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


@dataclass(frozen=True)
class Data:
    """Time reading MIDI files and making batches, each against baselines."""

    flags: tyro.conf.OmitArgPrefixes[DataFlags] = field(default_factory=DataFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


@dataclass(frozen=True)
class Prepare:
    """Time preparing large sets of files, made of small ones, and the memory it takes."""

    flags: tyro.conf.OmitArgPrefixes[PrepareFlags] = field(default_factory=PrepareFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


@dataclass(frozen=True)
class Generate:
    """Time generating with a preset's untrained network, against Keras with a window per note."""

    flags: tyro.conf.OmitArgPrefixes[GenerateFlags] = field(default_factory=GenerateFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Scaling, tyro.conf.subcommand("scaling")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
)


def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, measure, print the report."""
    command = tyro.cli(Command, args=arguments, prog=program, description=__doc__)
    match with_local_paths(command):
        case Train(flags, output):
            run_session("train", run_training, flags, output)
        case Scaling(flags, output):
            run_session("scaling", run_scaling, flags, output)
        case Data(flags, output):
            run_session("data", run_data, flags, output)
        case Prepare(flags, output):
            run_session("prepare", run_preparing, flags, output)
        case Generate(flags, output):
            run_session("generate", run_generating, flags, output)
