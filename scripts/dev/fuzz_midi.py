"""Send bad MIDI files through the parser, as preparing does, and see that it keeps its promises.

python scripts/dev/fuzz_midi.py [--files 50000] [--seed 0] [--from FOLDER ...] [--workers N]

Each file gives tokens or a named reason, in at most 2 seconds of a processor and 500 MB, and no
process dies of it. Exit code 1 if one doesn't; it is told by seed and number, and kept.
"""

from jaxmusic.cli import begin, run_script
from jaxmusic.runtime.limits import PREPARING
from jaxmusic.runtime.printable import printable

begin(PREPARING)  # before what is heavy is imported

import os
import sys
import tempfile
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


class BrokenPromiseError(UserError):
    """A file over which the parser did what it never does."""


@dataclass(frozen=True)
class Flags:
    """Send bad MIDI files through the parser, and see that it keeps its promises."""

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


def main() -> None:
    """Read the flags, send the files, tell what became of them."""
    flags = with_local_paths(tyro.cli(Flags, description=__doc__))
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


if __name__ == "__main__":
    sys.exit(run_script(main))
