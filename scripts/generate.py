"""Make new music with a trained run.

python scripts/generate.py RUN_DIR [--out FILE.mid] [--length 500] [--count 1] [--seed 0]
    [--greedy | --temperature T --top-k K --top-p P] [--prime FILE.mid]
"""

from jaxmusic.cli import begin, run_script
from jaxmusic.runtime.limits import GENERATING

begin(GENERATING)  # before what is heavy is imported

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from jaxmusic.config import ConfigError
from jaxmusic.errors import reason_of
from jaxmusic.midi.types import MidiError
from jaxmusic.run import open_run
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.runtime.paths import LocalPath, OptionalPath, with_local_paths
from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import optional_output
from jaxmusic.sampling import SamplingConfig, SamplingError, generate
from jaxmusic.storage.atomic import refuse_link, remove_abandoned, writing
from jaxmusic.storage.outputs import check_output, is_special, standard_stream
from jaxmusic.tokenizers.tokens import read_tokens, write_midi


@dataclass(frozen=True)
class Arguments:
    """Make new music with a trained run, as MIDI files."""

    # The run's folder, as train.py named it, or a copy of it.
    run_dir: tyro.conf.Positional[LocalPath]
    # The MIDI file to write; several are numbered. Default: RUN_DIR/samples/seed-SEED.mid.
    out: OptionalPath = None
    # Tokens (notes or chords) of a piece.
    length: int = 500
    # Pieces to make.
    count: int = 1
    # The same seed gives the same music.
    seed: int = 0
    # A MIDI file that the new music goes on from (default: a random window of the corpus).
    prime: OptionalPath = None
    # Which checkpoint: that with the lowest loss, or the newest.
    which: Literal["best", "latest"] = "best"
    # Quarters a minute; a token comes every half quarter.
    tempo: float = 120.0
    # How the next token is chosen.
    sampling: tyro.conf.OmitArgPrefixes[SamplingConfig] = field(default_factory=SamplingConfig)


@optional_output()
def main() -> None:
    """Read the flags, generate, write the files and name them."""
    arguments = with_local_paths(tyro.cli(Arguments))
    arguments.sampling.check()
    if not 4 <= arguments.tempo <= 1000:
        raise ConfigError(f"--tempo is {arguments.tempo}, but must be from 4 to 1000.")
    run = open_run(arguments.run_dir, arguments.which, log=_warn)
    prime = None
    if arguments.prime is not None:
        try:
            prime = read_tokens(arguments.prime, run.config.data.scheme)
        except (MidiError, OSError) as error:
            raise SamplingError(
                f"--prime {arguments.prime} can't be read: {reason_of(error)}. Give another file."
            ) from error
    default = RunDir(run.path).samples / f"seed-{arguments.seed}.mid"
    out = Path(arguments.out) if arguments.out is not None else default
    # Known before the music is made:
    if arguments.out is None:  # in the run's folder
        refuse_link(out.parent)
        refuse_link(out)
        remove_abandoned(out.parent)
    check_output("--out", out)
    if arguments.count > 1 and is_special(out):
        raise ConfigError(f"--out {out} is no regular file, which takes one piece: give a file.")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    pieces = generate(
        run,
        length=arguments.length,
        count=arguments.count,
        sampling=arguments.sampling,
        prime=prime,
        seed=arguments.seed,
    )
    for number, tokens in enumerate(pieces, 1):
        path = out if len(pieces) == 1 else out.with_stem(f"{out.stem}-{number}")
        if arguments.out is None:
            refuse_link(path)
        # Beside the music itself, on standard output, no words.
        speaks = sys.stderr if standard_stream(path) is sys.stdout else sys.stdout
        write_midi(tokens, path, scheme=run.config.data.scheme, tempo=arguments.tempo)
        print(
            f"{printable(path)}: {len(tokens):,} tokens ({' '.join(tokens[:8])} ...)", file=speaks
        )


def _warn(line: str) -> None:
    print(printable(line), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_script(main))
