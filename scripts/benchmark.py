"""Measure: a training step, the way of the data, generating; alone or against others.

python scripts/benchmark.py train [classic|...] [--against keras-jax,keras-tensorflow,torch,flax]
python scripts/benchmark.py data [MIDI_DIR]
python scripts/benchmark.py generate [classic|...]
    each: [--json FILE] [--plot FILE] [--baseline FILE]
"""

import sys
from dataclasses import dataclass, field
from typing import Annotated

import tyro
from benchmarking.session import OutputFlags, run_session
from benchmarking.training import TrainFlags, run_training

from jaxmusic.script import run_script


@dataclass(frozen=True)
class TrainCommand:
    """Time the training step of a preset; lists of sizes are swept, all with all."""

    flags: tyro.conf.OmitArgPrefixes[TrainFlags] = field(default_factory=TrainFlags)
    output: tyro.conf.OmitArgPrefixes[OutputFlags] = field(default_factory=OutputFlags)


Command = Annotated[TrainCommand, tyro.conf.subcommand("train")]


def main() -> None:
    """Read the flags, measure, tell."""
    command: TrainCommand = tyro.cli(Command, description=__doc__)  # type: ignore[arg-type]
    run_session("train", run_training, command.flags, command.output)


if __name__ == "__main__":
    sys.exit(run_script(main))
