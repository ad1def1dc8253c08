"""Write the MIDI files of midi_songs/, from its sources and from the seeds of the composer."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from songwriting.catalogue import SOURCES, pieces, tables
from songwriting.score import save

from jaxmusic.config import ConfigError
from jaxmusic.runtime.paths import with_local_paths

LONGEST_HEAD = 1_000  # bytes, within which a piece has its title


@dataclass(frozen=True)
class Flags:
    out: Path = SOURCES.parent  # the folder to write to
    tables: bool = False  # only print the README's tables of origins


def main(program: str, arguments: Sequence[str]) -> None:
    """Read the flags, write the files, and list them."""
    flags = with_local_paths(tyro.cli(Flags, args=arguments, prog=program, description=__doc__))
    if flags.tables:
        print(tables(dict(pieces())))
        return
    made = list(pieces())
    for name, score in made:
        _refuse_another_song(flags.out / f"{name}.mid", score.title)
    flags.out.mkdir(parents=True, exist_ok=True)
    print(f"{'piece':42s} {'key':4s} {'metre':>5s} {'bars':>5s} {'notes':>6s}")
    count = notes = 0
    for name, score in made:
        save(score, flags.out / f"{name}.mid")
        meter = "/".join(map(str, score.meter))
        print(f"{name:42s} {score.key:4s} {meter:>5s} {score.bars:5d} {score.notes:6d}")
        count += 1
        notes += score.notes
    print(f"{count} pieces, {notes} notes, in {flags.out}")


def _refuse_another_song(path: Path, title: str) -> None:
    """Raise ConfigError where a piece would replace a file that isn't an earlier state of it."""
    if os.path.lexists(path) and not (
        path.is_file() and title.encode("latin-1") in path.read_bytes()[:LONGEST_HEAD]
    ):
        raise ConfigError(f"{path} is not the piece that --out would put there: move it away.")
