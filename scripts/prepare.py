"""Turn a folder of MIDI files into a corpus to train on.

python scripts/prepare.py MIDI_DIR --corpus DIR [--scheme classic] [--workers N]
"""

import sys
from dataclasses import dataclass
from typing import Literal

import tyro

from jaxmusic.config import ConfigError
from jaxmusic.console import Console
from jaxmusic.corpus import summary
from jaxmusic.preparing import prepare
from jaxmusic.script import run_script


@dataclass(frozen=True)
class Arguments:
    """Turn a folder of MIDI files into a corpus; files it already holds are not parsed again."""

    # Folder of MIDI files (.mid, .midi, .kar; folders inside it too).
    midi_dir: tyro.conf.Positional[str]
    # The corpus's folder, made or brought up to date.
    corpus: str
    # How notes become tokens.
    scheme: Literal["classic"] = "classic"
    # Processes that parse (default: one a core).
    workers: int | None = None
    # Tokens of a window, to tell how many there are (training chooses its own).
    window: int = 100


def main() -> None:
    """Read the flags, prepare, and tell what became of the files."""
    arguments = tyro.cli(Arguments)
    if arguments.workers is not None and arguments.workers < 1:
        raise ConfigError(f"--workers is {arguments.workers}, but must be 1 or more.")
    with Console() as console:
        corpus = prepare(
            arguments.midi_dir,
            arguments.corpus,
            scheme=arguments.scheme,
            workers=arguments.workers,
            progress=lambda done, total: console.show(done, total, "MIDI files read"),
        )
    for line in summary(corpus):
        print(line)
    windows = max(0, len(corpus.tokens) - arguments.window)
    print(f"{windows:,} windows of {arguments.window} (across songs, one at every token)")


if __name__ == "__main__":
    sys.exit(run_script(main))
