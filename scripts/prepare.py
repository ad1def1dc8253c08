"""Turn a folder of MIDI files into a corpus to train on, or look at one.

python scripts/prepare.py MIDI_DIR --corpus DIR [--workers N] [--verify] [--deduplicate] [...]
python scripts/prepare.py --notes FILE --corpus DIR
python scripts/prepare.py --show DIR
python scripts/prepare.py --check DIR
"""

from jaxmusic.cli import begin, run_script
from jaxmusic.runtime.limits import PREPARING

begin(PREPARING)  # before what is heavy is imported

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from jaxmusic.config import MAX_SKIPPED_SHARE, ConfigError
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus, CorpusError, find_damage
from jaxmusic.corpus.summary import describe, summarize
from jaxmusic.preparation.notebook_notes import prepare_notes
from jaxmusic.preparation.prepare import prepare
from jaxmusic.runtime.paths import OptionalPath, with_local_paths
from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import optional_output


@dataclass(frozen=True)
class Arguments:
    """Turn a folder of MIDI files into a corpus; files it already holds are not parsed again.

    It can be stopped at any time and goes on from there when started again.
    """

    # Folder of MIDI files (.mid, .midi, .kar; folders inside it too).
    midi_dir: tyro.conf.Positional[OptionalPath] = None
    # The corpus's folder, made or brought up to date.
    corpus: OptionalPath = None
    # How notes become tokens.
    scheme: Literal["classic"] = "classic"
    # Processes that parse (default: one a core).
    workers: int | None = None
    # Of files with the same bytes, use only the first.
    deduplicate: bool = False
    # Fail when more than this share of the files (0 to 1) can't be read.
    max_skipped_share: float = MAX_SKIPPED_SHARE
    # Look at the bytes of all files, also where size and time of change are the known ones.
    verify: bool = False
    # Instead of MIDI_DIR: the file of all tokens that the notebooks keep (data/notes). It is a
    # pickle, but nothing in it is run, and all songs are one, since it tells no borders.
    notes: OptionalPath = None
    # Tokens of a window, to tell how many there are (training chooses its own).
    window: int = 100
    # Instead: tell what is in this corpus.
    show: OptionalPath = None
    # Instead: see whether this corpus is whole, by its digests; exit code 1 if it isn't.
    check: OptionalPath = None


def main() -> None:
    """Read the flags, then prepare, show or check."""
    arguments = with_local_paths(tyro.cli(Arguments))
    if arguments.window < 1:
        raise ConfigError(f"--window is {arguments.window}, but must be 1 or more.")
    if arguments.show is not None or arguments.check is not None:
        _look_at_corpora(arguments)
    elif arguments.notes is not None:
        _prepare_notes(arguments, arguments.notes)
    elif arguments.midi_dir is None or arguments.corpus is None:
        missing = "MIDI_DIR" if arguments.midi_dir is None else "--corpus"
        raise ConfigError(
            f"{missing} is missing: give MIDI_DIR and --corpus DIR, or --notes FILE and --corpus "
            "DIR, or --show DIR, or --check DIR."
        )
    else:
        _prepare(arguments, arguments.midi_dir, arguments.corpus)


@optional_output()
def _prepare(arguments: Arguments, midi_dir: str, corpus_dir: str) -> None:
    if arguments.workers is not None and arguments.workers < 1:
        raise ConfigError(f"--workers is {arguments.workers}, but must be 1 or more.")
    if not 0 <= arguments.max_skipped_share <= 1:
        raise ConfigError(
            f"--max-skipped-share is {arguments.max_skipped_share}, but must be from 0 to 1."
        )
    try:
        with Console() as console:
            corpus = prepare(
                midi_dir,
                corpus_dir,
                scheme=arguments.scheme,
                workers=arguments.workers,
                verify=arguments.verify,
                deduplicate=arguments.deduplicate,
                max_skipped_share=arguments.max_skipped_share,
                progress=lambda done, total: console.progress(done, total, "MIDI files read"),
                log=console.log,
            )
    except KeyboardInterrupt:
        print("Stopped. What was read is kept: the same command goes on from there.")
        raise
    _tell(corpus, arguments)


@optional_output()
def _prepare_notes(arguments: Arguments, notes: str) -> None:
    if arguments.corpus is None:
        raise ConfigError("--corpus is missing: give --notes FILE and --corpus DIR.")
    if arguments.midi_dir is not None or arguments.workers is not None or arguments.verify:
        raise ConfigError("--notes FILE takes --corpus DIR, and no MIDI_DIR, --workers, --verify.")
    _tell(prepare_notes(Path(notes), Path(arguments.corpus), log=Console().log), arguments)


def _tell(corpus: Corpus, arguments: Arguments) -> None:
    for line in summarize(corpus):
        print(printable(line))
    windows = max(0, len(corpus.tokens) - arguments.window)
    print(f"{windows:,} windows of {arguments.window} (across songs, one at every token)")


def _look_at_corpora(arguments: Arguments) -> None:
    if (arguments.midi_dir, arguments.corpus, arguments.notes) != (None, None, None):
        raise ConfigError(
            "--show and --check take a corpus's folder, and no MIDI_DIR, --notes or --corpus."
        )
    if arguments.check is not None:
        if damage := find_damage(Path(arguments.check)):
            raise CorpusError(damage)
        print(f"{printable(arguments.check)} is whole: all its files are as they were written.")
    if arguments.show is not None:
        for line in describe(Corpus.open(arguments.show)):
            print(printable(line))


if __name__ == "__main__":
    sys.exit(run_script(main))
