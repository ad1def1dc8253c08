"""Evaluate a trained run: likelihood of held-out songs, and its music beside theirs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from jaxmusic.config import ConfigError, parse_semitones
from jaxmusic.evaluation.evaluate import evaluate_run
from jaxmusic.evaluation.likelihood.piano_rolls import score_lines, score_rolls
from jaxmusic.evaluation.report import report_lines
from jaxmusic.evaluation.songs import load_songs
from jaxmusic.preparation.sources.piano_rolls import read_piano_rolls
from jaxmusic.run import Run, open_run
from jaxmusic.runtime.paths import LocalPath, OptionalPath, with_local_paths
from jaxmusic.runtime.printable import printable
from jaxmusic.sampling.choice import SamplingConfig
from jaxmusic.storage.json_text import render_json
from jaxmusic.storage.outputs import check_output, write_output


@dataclass(frozen=True)
class Flags:
    """Evaluate a trained run on the songs that it held out, and on pieces that it generates."""

    # The run's folder, or a copy of it.
    run_dir: tyro.conf.Positional[LocalPath]
    # The corpus that the run was trained on (default: where it was then).
    corpus: OptionalPath = None
    # Or the folder of MIDI files that it was trained on, which is prepared first.
    midi_dir: OptionalPath = None
    # A folder of MIDI files that the run has never seen, instead of the songs that it held out.
    held_out_dir: OptionalPath = None
    # Instead of all else: score the run on a public set of piano rolls (a MATLAB file with
    # traindata, validdata and testdata), in nats a row.
    piano_rolls: OptionalPath = None
    # The songs of the set that are scored. Choose settings by valid, and score test once.
    part: Literal["train", "valid", "test"] = "valid"
    # Average the predictions of the set's songs over these keys: LOW..HIGH (as -5..6) semitones.
    keys: str | None = None
    # Of more training or held-out songs than this, so many are used, evenly chosen.
    songs: int = 1000
    # Number of pieces to generate.
    count: int = 50
    # Tokens of each piece.
    length: int = 500
    # Of the generated pieces.
    seed: int = 0
    # Checkpoint to use: the one with the lowest loss, or the newest.
    which: Literal["best", "latest"] = "best"
    # Write all figures to this file, also those of each piece.
    json: OptionalPath = None
    # How the next token is chosen.
    sampling: tyro.conf.OmitArgPrefixes[SamplingConfig] = field(default_factory=SamplingConfig)


def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, evaluate, print the tables."""
    flags = with_local_paths(tyro.cli(Flags, args=arguments, prog=program))
    flags.sampling.check()
    if flags.songs < 1:
        raise ConfigError(f"--songs is {flags.songs}, but must be 1 or more.")
    if flags.corpus is not None and flags.midi_dir is not None:
        raise ConfigError("--corpus and --midi-dir name the same songs: give one of them.")
    if flags.json is not None:
        check_output("--json", flags.json)
    run = open_run(flags.run_dir, flags.which, log=_log)
    if flags.piano_rolls is not None:
        _score_rolls(flags, run, Path(flags.piano_rolls))
        return
    songs = load_songs(
        run,
        corpus=flags.corpus,
        midi_dir=flags.midi_dir,
        held_out_dir=flags.held_out_dir,
        most=flags.songs,
        log=_log,
    )
    found = evaluate_run(
        run,
        songs,
        count=flags.count,
        length=flags.length,
        seed=flags.seed,
        sampling=flags.sampling,
        log=_log,
    )
    for line in report_lines(found):
        print(printable(line))
    if flags.json is not None:
        write_output(flags.json, render_json(found.document(), indent=1) + "\n")


def _score_rolls(flags: Flags, run: Run, file: Path) -> None:
    keys = range(1)
    if flags.keys is not None:
        low, high = parse_semitones("--keys", flags.keys)
        keys = range(low, high + 1)
    score = score_rolls(run, read_piano_rolls(file, flags.part), keys=keys, log=_log)
    for line in score_lines(score, flags.part):
        print(line)
    if flags.json is not None:
        write_output(flags.json, render_json(score.document(), indent=1) + "\n")


def _log(line: str) -> None:
    print(printable(line), file=sys.stderr)
