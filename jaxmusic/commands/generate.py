"""Generate music with a trained run."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from jaxmusic.config import MOST_SEMITONES, ConfigError
from jaxmusic.errors import reason_of
from jaxmusic.evaluation.warnings import why_undertrained
from jaxmusic.midi.types import MidiError
from jaxmusic.run import open_run
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.runtime.paths import LocalPath, OptionalPath, with_local_paths
from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import optional_output
from jaxmusic.sampling.choice import SamplingConfig
from jaxmusic.sampling.generate import Piece, generate_pieces
from jaxmusic.sampling.primer import SamplingError, without_end
from jaxmusic.storage.atomic import refuse_link, remove_abandoned, writing
from jaxmusic.storage.outputs import check_output, is_special, standard_stream
from jaxmusic.tokenizers.tokenizer import (
    get_tokenizer,
    read_tokens,
    transpose_tokens,
    write_midi,
)


@dataclass(frozen=True)
class Flags:
    """Generate music with a trained run, as MIDI files."""

    # The run's folder, or a copy of it.
    run_dir: tyro.conf.Positional[LocalPath]
    # MIDI file to write; several are numbered (default: RUN_DIR/samples/seed-SEED.mid).
    out: OptionalPath = None
    # Tokens of each piece at most (default: 500, or with --seconds as many as it takes). In schemes
    # that mark the ends of songs, a piece may end by itself before.
    length: int | None = None
    # Seconds of new music in each piece at most, at the output's tempo.
    seconds: float | None = None
    # Number of pieces.
    count: int = 1
    # The same seed gives the same music.
    seed: int = 0
    # A MIDI file that the music continues, in any key (default: the music begins as songs do in
    # schemes that mark this, for the objective `every`, otherwise it continues a random window of
    # the corpus).
    prime: OptionalPath = None
    # Write the prime before the music that continues it.
    with_prime: bool = False
    # Continue a random window of the corpus, also where music can begin from nothing.
    from_window: bool = False
    # Checkpoint to use: the one with the lowest loss, or the newest.
    which: Literal["best", "latest"] = "best"
    # Quarters per minute. In schemes without times, each token starts half a quarter after the one
    # before.
    tempo: float = 120.0
    # Semitones by which all that is written is transposed, -24 to 24.
    transpose: int = 0
    # How the next token is chosen.
    sampling: tyro.conf.OmitArgPrefixes[SamplingConfig] = field(default_factory=SamplingConfig)


@optional_output()
def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, generate, write the files and print their names."""
    flags = with_local_paths(tyro.cli(Flags, args=arguments, prog=program))
    flags.sampling.check()
    if not 4 <= flags.tempo <= 1000:
        raise ConfigError(f"--tempo is {flags.tempo}, but must be from 4 to 1000.")
    if flags.seconds is not None and not 0 < flags.seconds < math.inf:
        raise ConfigError(f"--seconds is {flags.seconds}, but must be above 0 and finite.")
    if abs(flags.transpose) > MOST_SEMITONES:
        raise ConfigError(
            f"--transpose is {flags.transpose}, but must be from -{MOST_SEMITONES} to "
            f"{MOST_SEMITONES}."
        )
    if flags.with_prime and flags.prime is None:
        raise ConfigError("--with-prime needs a prime: give --prime FILE too.")
    run = open_run(flags.run_dir, flags.which, log=_warn)
    if (warning := why_undertrained(run)) is not None:
        _warn(warning)
    scheme = run.config.data.scheme
    prime = None
    if flags.prime is not None:
        try:
            prime = read_tokens(flags.prime, scheme)
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
    pieces = generate_pieces(
        run,
        length=flags.length,
        quarters=None if flags.seconds is None else flags.seconds * flags.tempo / 60,
        count=flags.count,
        sampling=flags.sampling,
        prime=prime,
        from_window=flags.from_window,
        seed=flags.seed,
        log=_warn,
    )
    before = without_end(prime, get_tokenizer(scheme)) if prime and flags.with_prime else []
    for number, piece in enumerate(pieces, 1):
        path = out if len(pieces) == 1 else out.with_stem(f"{out.stem}-{number}")
        if flags.out is None:
            refuse_link(path)
        # Standard output may be where the music goes.
        stream = sys.stderr if standard_stream(path) is sys.stdout else sys.stdout
        tokens = transpose_tokens([*before, *piece.tokens], flags.transpose, scheme)
        write_midi(tokens, path, scheme=scheme, tempo=flags.tempo)
        print(_summary(path, piece), file=stream)


def _summary(path: Path, piece: Piece) -> str:
    """A line about a piece that was written."""
    words = f"{len(piece.tokens):,} tokens ({' '.join(piece.tokens[:8])} ...)"
    if piece.ended:
        words += ", ended by itself"
    if piece.masked_probability is not None:
        words += f", {piece.masked_probability:.2%} of the probability was on illegal tokens"
    return f"{printable(path)}: {words}"


def _warn(line: str) -> None:
    print(printable(line), file=sys.stderr)
