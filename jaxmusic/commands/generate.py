"""Generate music with a trained run."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from jaxmusic.config import ConfigError
from jaxmusic.errors import reason_of
from jaxmusic.evaluation.undertrained import why_undertrained
from jaxmusic.midi.types import MidiError
from jaxmusic.run import open_run
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.runtime.paths import LocalPath, OptionalPath, with_local_paths
from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import optional_output
from jaxmusic.sampling.choice import SamplingConfig
from jaxmusic.sampling.generate import SamplingError, generate
from jaxmusic.storage.atomic import refuse_link, remove_abandoned, writing
from jaxmusic.storage.outputs import check_output, is_special, standard_stream
from jaxmusic.tokenizers.tokenizer import read_tokens, write_midi


@dataclass(frozen=True)
class Flags:
    """Generate music with a trained run, as MIDI files."""

    # The run's folder, or a copy of it.
    run_dir: tyro.conf.Positional[LocalPath]
    # MIDI file to write; several are numbered (default: RUN_DIR/samples/seed-SEED.mid).
    out: OptionalPath = None
    # Tokens (notes or chords) of each piece.
    length: int = 500
    # Number of pieces.
    count: int = 1
    # The same seed gives the same music.
    seed: int = 0
    # A MIDI file that the music continues (default: a random window of the corpus).
    prime: OptionalPath = None
    # Checkpoint to use: the one with the lowest loss, or the newest.
    which: Literal["best", "latest"] = "best"
    # Quarters per minute; each token starts half a quarter after the one before.
    tempo: float = 120.0
    # How the next token is chosen.
    sampling: tyro.conf.OmitArgPrefixes[SamplingConfig] = field(default_factory=SamplingConfig)


@optional_output()
def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, generate, write the files and print their names."""
    flags = with_local_paths(tyro.cli(Flags, args=arguments, prog=program))
    flags.sampling.check()
    if not 4 <= flags.tempo <= 1000:
        raise ConfigError(f"--tempo is {flags.tempo}, but must be from 4 to 1000.")
    run = open_run(flags.run_dir, flags.which, log=_warn)
    if (warning := why_undertrained(run)) is not None:
        _warn(warning)
    prime = None
    if flags.prime is not None:
        try:
            prime = read_tokens(flags.prime, run.config.data.scheme)
        except (MidiError, OSError) as error:
            raise SamplingError(
                f"--prime {flags.prime} can't be read: {reason_of(error)}. Give another file."
            ) from error
    default = RunDir(run.path).samples / f"seed-{flags.seed}.mid"
    out = Path(flags.out) if flags.out is not None else default
    # Checked before generating, which takes long:
    if flags.out is None:  # in the run's folder
        refuse_link(out.parent)
        refuse_link(out)
        remove_abandoned(out.parent)
    check_output("--out", out)
    if flags.count > 1 and is_special(out):
        raise ConfigError(
            f"--out {out} is not a regular file, so it takes one piece: give the name of a file."
        )
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    pieces = generate(
        run,
        length=flags.length,
        count=flags.count,
        sampling=flags.sampling,
        prime=prime,
        seed=flags.seed,
    )
    for number, tokens in enumerate(pieces, 1):
        path = out if len(pieces) == 1 else out.with_stem(f"{out.stem}-{number}")
        if flags.out is None:
            refuse_link(path)
        # Standard output may be where the music goes.
        stream = sys.stderr if standard_stream(path) is sys.stdout else sys.stdout
        write_midi(tokens, path, scheme=run.config.data.scheme, tempo=flags.tempo)
        print(
            f"{printable(path)}: {len(tokens):,} tokens ({' '.join(tokens[:8])} ...)", file=stream
        )


def _warn(line: str) -> None:
    print(printable(line), file=sys.stderr)
