"""Parse bad MIDI files as preparing does, and check the parser's guarantees."""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from fuzzing.campaign import Campaign, table

from jaxmusic.config import ConfigError
from jaxmusic.console import Console
from jaxmusic.errors import UserError
from jaxmusic.preparation.scan import find_files
from jaxmusic.runtime.paths import with_local_paths
from jaxmusic.runtime.printable import printable


class BrokenPromiseError(UserError):
    """A file for which the parser broke a guarantee."""


@dataclass(frozen=True)
class Flags:
    """Parse generated bad MIDI files, and check the parser's guarantees."""

    # How many files.
    files: int = 50_000
    # Another seed gives other files; file k of a seed is always the same.
    seed: int = 0
    # Folders of good songs that bad ones are made of.
    sources: Annotated[tuple[Path, ...], tyro.conf.arg(name="from")] = (Path("midi_songs"),)
    # Processes that parse (default: one a core).
    workers: int | None = None
    # Number of the first file (to see one again: its number, and --files 1).
    first: int = 0
    # Where files are kept over which a promise is broken.
    keep: Path = Path("fuzz-failures")


def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, send the files, print the outcomes."""
    flags = with_local_paths(tyro.cli(Flags, args=arguments, prog=program, description=__doc__))
    for name in ("files", "workers"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value}, but must be 1 or more.")
    for name in ("first", "seed"):
        if (value := getattr(flags, name)) < 0:
            raise ConfigError(f"--{name} is {value}, but must be 0 or more.")
    songs = [
        (folder / path).read_bytes()
        for folder in flags.sources
        for path in find_files(folder).files
    ]
    # This process parses too: one worker less, but at least one for the large files.
    workers = max(2, flags.workers or os.cpu_count() or 1)
    campaign = Campaign(songs, flags.seed, workers, flags.keep)
    numbers = range(flags.first, flags.first + flags.files)
    with tempfile.TemporaryDirectory(prefix="fuzz-costs-") as logs, Console() as console:
        log = str(Path(logs) / "costs")
        campaign.run(
            numbers, log, lambda done: console.progress(done, flags.files, "bad files read")
        )
    for line in table(campaign.outcome):
        print(line)
    if broken := campaign.outcome.broken:
        for line in broken:
            print(f"  {printable(line)}", file=sys.stderr)
        raise BrokenPromiseError(f"{len(broken):,} promises were broken, listed above.")
    print(f"\nAll {flags.files:,} files of seed {flags.seed} gave tokens or a reason.")
