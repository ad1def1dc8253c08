"""Turn a folder of MIDI files into a corpus to train on, or inspect a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from jaxmusic.commands.scheme_options import SchemeOptions
from jaxmusic.config import MAX_SKIPPED_SHARE, ConfigError
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus, CorpusError, find_damage
from jaxmusic.corpus.summary import describe, summarize
from jaxmusic.preparation.prepare import prepare
from jaxmusic.preparation.sources.notebook_notes import prepare_notes
from jaxmusic.preparation.sources.piano_rolls import prepare_piano_rolls
from jaxmusic.runtime.paths import OptionalPath, with_local_paths
from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import optional_output


@dataclass(frozen=True)
class Flags:
    """Turn a folder of MIDI files into a corpus; files that it holds already are not parsed again.

    It can be stopped at any time, and resumes when started again.
    """

    # Folder of MIDI files (.mid, .midi, .kar), searched with its subfolders.
    midi_dir: tyro.conf.Positional[OptionalPath] = None
    # The corpus's folder, created or updated.
    corpus: OptionalPath = None
    # How notes become tokens: classic (pitches and chords, without times), timed (with rhythm), or
    # another tokenizer that is installed.
    scheme: str = "classic"
    # Options of the scheme `timed`.
    scheme_options: tyro.conf.OmitArgPrefixes[SchemeOptions] = field(default_factory=SchemeOptions)
    # Worker processes that parse files (default: one per core).
    workers: int | None = None
    # Use only the first of several files with the same bytes.
    deduplicate: bool = False
    # Fail when more than this share of the files (0 to 1) can't be read.
    max_skipped_share: float = MAX_SKIPPED_SHARE
    # Compare the bytes of all files, not only their sizes and modification times.
    verify: bool = False
    # Instead of MIDI_DIR: the file of all tokens that the notebooks save (data/notes). It is a
    # pickle, but nothing in it is executed. It has no song borders, so all songs become one.
    notes: OptionalPath = None
    # Instead of MIDI_DIR: a public set of piano rolls (a MATLAB file with traindata, validdata and
    # testdata). The corpus has its training and validation songs, in the scheme piano-roll.
    piano_rolls: OptionalPath = None
    # Tokens of a window, for the number of windows that is printed (training has its own flag).
    window: int = 100
    # Instead: show what this corpus contains.
    show: OptionalPath = None
    # Instead: check this corpus against its digests; exit code 1 if it is damaged.
    check: OptionalPath = None


def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, then prepare, show or check."""
    flags = with_local_paths(tyro.cli(Flags, args=arguments, prog=program))
    if flags.window < 1:
        raise ConfigError(f"--window is {flags.window}, but must be 1 or more.")
    if flags.show is not None or flags.check is not None:
        _inspect(flags)
    elif flags.notes is not None or flags.piano_rolls is not None:
        _prepare_file(flags)
    elif flags.midi_dir is None or flags.corpus is None:
        missing = "MIDI_DIR" if flags.midi_dir is None else "--corpus"
        raise ConfigError(
            f"{missing} is missing: give MIDI_DIR and --corpus DIR, or --notes FILE and --corpus "
            "DIR, or --piano-rolls FILE and --corpus DIR, or --show DIR, or --check DIR."
        )
    else:
        _prepare(flags, flags.midi_dir, flags.corpus)


@optional_output()
def _prepare(flags: Flags, midi_dir: str, corpus_dir: str) -> None:
    if flags.workers is not None and flags.workers < 1:
        raise ConfigError(f"--workers is {flags.workers}, but must be 1 or more.")
    if not 0 <= flags.max_skipped_share <= 1:
        raise ConfigError(
            f"--max-skipped-share is {flags.max_skipped_share}, but must be from 0 to 1."
        )
    try:
        with Console() as console:
            corpus = prepare(
                midi_dir,
                corpus_dir,
                scheme=flags.scheme_options.complete(flags.scheme),
                workers=flags.workers,
                verify=flags.verify,
                deduplicate=flags.deduplicate,
                max_skipped_share=flags.max_skipped_share,
                progress=lambda done, total: console.progress(done, total, "MIDI files read"),
                log=console.log,
            )
    except KeyboardInterrupt:
        print("Stopped. What was read is kept: the same command resumes from there.")
        raise
    _report(corpus, flags)


@optional_output()
def _prepare_file(flags: Flags) -> None:
    """Make a corpus of one file: the notebooks' notes, or piano rolls."""
    flag = "--notes" if flags.piano_rolls is None else "--piano-rolls"
    if flags.notes is not None and flags.piano_rolls is not None:
        raise ConfigError("--notes and --piano-rolls are two corpora: give one of them.")
    if flags.corpus is None:
        raise ConfigError(f"--corpus is missing: give {flag} FILE and --corpus DIR.")
    if flags.midi_dir is not None or flags.workers is not None or flags.verify:
        raise ConfigError(
            f"{flag} FILE takes --corpus DIR, but no MIDI_DIR, --workers or --verify."
        )
    corpus_dir, log = Path(flags.corpus), Console().log
    if flags.piano_rolls is not None:
        corpus = prepare_piano_rolls(Path(flags.piano_rolls), corpus_dir, log=log)
    else:
        corpus = prepare_notes(Path(str(flags.notes)), corpus_dir, log=log)
    _report(corpus, flags)


def _report(corpus: Corpus, flags: Flags) -> None:
    for line in summarize(corpus):
        print(printable(line))
    windows = max(0, len(corpus.tokens) - flags.window)
    print(f"{windows:,} windows of {flags.window} (across songs, one at every token)")


def _inspect(flags: Flags) -> None:
    if (flags.midi_dir, flags.corpus, flags.notes, flags.piano_rolls) != (None,) * 4:
        raise ConfigError(
            "--show and --check take a corpus's folder, but no MIDI_DIR, --notes, --piano-rolls or "
            "--corpus."
        )
    if flags.check is not None:
        if damage := find_damage(Path(flags.check)):
            raise CorpusError(damage)
        print(f"{printable(flags.check)} is whole: all its files are as they were written.")
    if flags.show is not None:
        for line in describe(Corpus.open(flags.show)):
            print(printable(line))
