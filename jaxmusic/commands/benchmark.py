"""Measure training steps, scaling, reading, preparing and generating."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, Union

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

FlagsT = TypeVar("FlagsT")


@dataclass(frozen=True)
class Command(Generic[FlagsT]):
    """A benchmark's own flags, and where its report goes."""

    flags: tyro.conf.OmitArgPrefixes[FlagsT]
    output: tyro.conf.OmitArgPrefixes[OutputFlags]


# A benchmark's name: its flags, the function that runs it, its help.
BENCHMARKS: dict[str, tuple[type[Any], Any, str]] = {
    "train": (
        TrainFlags, run_training,
        "Time the training step of a preset, for every combination of the sizes given.",
    ),
    "scaling": (
        ScalingFlags, run_scaling,
        "Time a preset's training on more and more devices, and in several processes.",
    ),
    "data": (
        DataFlags, run_data,
        "Time reading MIDI files and making batches, each against baselines.",
    ),
    "prepare": (
        PrepareFlags, run_preparing,
        "Time preparing large sets of files, made of small ones, and the memory it takes.",
    ),
    "generate": (
        GenerateFlags, run_generating,
        "Time generating with a preset's untrained network, against Keras with a window per note.",
    ),
}  # fmt: skip


def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, measure, print the report."""
    commands: Any = Union[  # noqa: UP007 (of a tuple that is computed)
        tuple(
            Annotated[
                Command[flags],  # type: ignore[valid-type]
                tyro.conf.subcommand(
                    name, default=Command(flags(), OutputFlags()), description=description
                ),
            ]
            for name, (flags, _, description) in BENCHMARKS.items()
        )
    ]
    command: Command[Any] = with_local_paths(
        tyro.cli(commands, args=arguments, prog=program, description=__doc__)
    )
    for name, (flags, run, _) in BENCHMARKS.items():
        if type(command.flags) is flags:
            run_session(name, run, command.flags, command.output)
