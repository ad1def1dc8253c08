"""Measure: a training step, its scaling, the way of the data, generating; alone or against others.

python scripts/benchmark.py train [classic|...] [--against keras-jax,keras-tensorflow,torch,flax]
python scripts/benchmark.py scaling [classic|...] [--devices 1 2 4 8] [--processes 1 2] [--weak]
python scripts/benchmark.py data [MIDI_DIR]
python scripts/benchmark.py prepare [--files 1000 10000]
python scripts/benchmark.py generate [classic|...]
    each: [--json FILE] [--plot FILE] [--baseline FILE]
"""

from jaxmusic.cli import begin, run_script
from jaxmusic.runtime.limits import TRAINING

begin(TRAINING)  # before what is heavy is imported

import sys
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from jaxmusic.benchmarks.generating import GenerateFlags, run_generating
from jaxmusic.benchmarks.preparing import PrepareFlags, run_preparing
from jaxmusic.benchmarks.reading import DataFlags, run_data
from jaxmusic.benchmarks.scaling import ScalingFlags, run_scaling
from jaxmusic.benchmarks.session import OutputFlags, run_session
from jaxmusic.benchmarks.training import TrainFlags, run_training
from jaxmusic.runtime.paths import with_local_paths


@dataclass(frozen=True)
class Train:
    """Time the training step of a preset; lists of sizes are swept, all with all."""

    flags: tyro.conf.OmitArgPrefixes[TrainFlags] = field(default_factory=TrainFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


@dataclass(frozen=True)
class Scaling:
    """Time a preset's training on more and more devices, and in several processes."""

    flags: tyro.conf.OmitArgPrefixes[ScalingFlags] = field(default_factory=ScalingFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


@dataclass(frozen=True)
class Data:
    """Time reading MIDI files, and making batches, each against others."""

    flags: tyro.conf.OmitArgPrefixes[DataFlags] = field(default_factory=DataFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


@dataclass(frozen=True)
class Prepare:
    """Time preparing large sets of files, made of small ones, and the memory that it takes."""

    flags: tyro.conf.OmitArgPrefixes[PrepareFlags] = field(default_factory=PrepareFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


@dataclass(frozen=True)
class Generate:
    """Time generating with a preset's network, untrained, against Keras a window a note."""

    flags: tyro.conf.OmitArgPrefixes[GenerateFlags] = field(default_factory=GenerateFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Scaling, tyro.conf.subcommand("scaling")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
)


def main() -> None:
    """Read the flags, measure, tell."""
    match with_local_paths(tyro.cli(Command, description=__doc__)):
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


if __name__ == "__main__":
    sys.exit(run_script(main))
