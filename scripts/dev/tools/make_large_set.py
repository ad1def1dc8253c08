"""Make a large set of varied MIDI files out of a small one, to measure preparing with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from jaxmusic.benchmarks.large_sets import read_songs, write_set
from jaxmusic.benchmarks.results.output_files import check_new_folder
from jaxmusic.config import ConfigError
from jaxmusic.runtime.paths import with_local_paths


@dataclass(frozen=True)
class Flags:
    """Make a large set of varied MIDI files out of a small one."""

    # Folder to write to; it must be empty or missing.
    out: tyro.conf.Positional[Path]
    # Number of files.
    files: int = 1_000
    # Folder of the songs that are cut.
    midi_dir: Path = Path("midi_songs")
    # Another seed gives other files.
    seed: int = 0


def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, write the files."""
    flags = with_local_paths(tyro.cli(Flags, args=arguments, prog=program, description=__doc__))
    if flags.files < 1:
        raise ConfigError(f"--files is {flags.files}, but must be 1 or more.")
    if flags.seed < 0:
        raise ConfigError(f"--seed is {flags.seed}, but must be 0 or more.")
    check_new_folder(str(flags.out), flags.out)
    size = write_set(read_songs(flags.midi_dir), flags.out, flags.files, flags.seed)
    print(f"{flags.files:,} files, {size / 1e6:,.1f} MB, in {flags.out}")
