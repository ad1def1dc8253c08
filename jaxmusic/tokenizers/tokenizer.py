"""What a tokenizer is, which ones there are, and tokens of MIDI files by their scheme's name."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import Protocol

from jaxmusic.errors import UserError
from jaxmusic.midi.reader import parse_midi, read_midi
from jaxmusic.midi.types import MidiScore, Note
from jaxmusic.midi.writer import write_notes
from jaxmusic.tokenizers.classic import ClassicTokenizer
from jaxmusic.tokenizers.piano_roll import PianoRollTokenizer
from jaxmusic.tokenizers.timed.timed import TimedTokenizer

ENTRY_POINTS = "jaxmusic.tokenizers"  # the group in which other distributions name tokenizers
DEFAULT_STEP = 0.5  # quarters, from one token to the next in schemes without times
_SHORTEST_STEP = 1 / 16  # quarters; the classic scheme would read closer tokens as one chord


class UnknownSchemeError(UserError, ValueError):
    """There is no tokenizer of this name."""

    exit_code = 2


class Tokenizer(Protocol):
    """A scheme: how music becomes tokens, and tokens music.

    The vocabulary of a corpus is the set of its distinct tokens, unless the scheme has a fixed one.
    Text with characters that can't be printed is not a token.

    A class that inherits from this one has the default of each member from `encode_counted` on.
    """

    @property
    def name(self) -> str:
        """The scheme's name: `--scheme` of the command line, and stored in corpora and runs."""

    @property
    def version(self) -> int:
        """Raised by a change that alters any file's tokens: all corpora are then parsed again."""

    def encode(self, score: MidiScore) -> list[str]:
        """The tokens of a file. Raises MidiError for one without notes."""

    def decode(self, tokens: Sequence[str], *, step: float) -> list[list[Note]]:
        """The notes of tokens, in one or more tracks, at `writer.TICKS_PER_QUARTER`.

        `step` is the time from one token to the next in quarters, in schemes whose tokens have no
        times of their own. Raises ValueError, naming it, for a token that the scheme does not have.
        """

    def transpose(self, token: str, semitones: int) -> str | None:
        """The token of the same music, so many semitones higher; None if a pitch leaves MIDI's."""

    def check(self, token: str) -> None:
        """Raise ValueError, naming it, for a token that the scheme does not have."""

    def encode_counted(self, score: MidiScore) -> tuple[list[str], dict[str, int]]:
        """The tokens of a file, and what became of its notes: numbers by short names.

        These are kept in the corpus's ledger, and their sums are told. Raises MidiError as `encode`
        does.
        """
        return self.encode(score), {}

    @property
    def end_token(self) -> str | None:
        """The token that begins and ends each song; None if songs have no marks."""
        return None

    def fixed_vocabulary(self) -> list[str] | None:
        """All tokens of the scheme, each once, in any order; None if there is no fixed set.

        It is then the vocabulary of every corpus, so that weights fit any of them.
        """
        return None

    def kind(self, token: str) -> str:
        """The kind of a token, such as "note" or "wait", by which results are split."""
        return "token"

    def may_follow(self, before: str, token: str) -> bool:
        """Whether a song may have `token` directly after `before`.

        Sampling masks all others, if the scheme has a fixed vocabulary.
        """
        return True


_OWN: tuple[Tokenizer, ...] = (
    ClassicTokenizer(),
    PianoRollTokenizer(),
    *(TimedTokenizer(grid=grid, loudness=loud) for grid in (12, 48) for loud in (False, True)),
)
TOKENIZERS: dict[str, Tokenizer] = {each.name: each for each in _OWN}


def register(tokenizer: Tokenizer) -> None:
    """Make a tokenizer known to this process. Raises ValueError if its name is taken.

    The processes that parse beside this one, and the scripts, find only the tokenizers of this
    package and those that an installed distribution names as entry points of the group
    `jaxmusic.tokenizers` (NAME = "module:object"). Without them this process parses alone.
    """
    if tokenizer.name in TOKENIZERS:
        raise ValueError(f"there is a token scheme {tokenizer.name!r} already")
    TOKENIZERS[tokenizer.name] = tokenizer


def get_tokenizer(name: str) -> Tokenizer:
    """Find the tokenizer of a scheme. Raises UnknownSchemeError, naming the known ones."""
    if name not in TOKENIZERS:
        from importlib.metadata import entry_points  # noqa: PLC0415 - 20 ms, rarely needed

        installed = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
        if name not in installed:
            known = ", ".join(sorted({*TOKENIZERS, *installed}))
            raise UnknownSchemeError(
                f"There is no token scheme {name!r} (known: {known}): give another one, or install "
                "the package that provides it."
            )
        TOKENIZERS[name] = installed[name].load()
    return TOKENIZERS[name]


def read_tokens(path: str | os.PathLike[str], scheme: str = "classic") -> list[str]:
    """Read the tokens of a MIDI file. The list may be empty: see the scheme's `encode`.

    Raises OSError when the file can't be opened, MidiError (a ValueError) with the reason when it
    can't be read as MIDI or has no notes, UnknownSchemeError (a ValueError).
    """
    return get_tokenizer(scheme).encode(read_midi(path))


def parse_tokens(data: bytes, scheme: str = "classic") -> list[str]:
    """Read the tokens of a MIDI file's bytes, as `read_tokens` does of a file."""
    return get_tokenizer(scheme).encode(parse_midi(data))


def parse_counted(data: bytes, scheme: str) -> tuple[list[str], dict[str, int]]:
    """Read the tokens of a MIDI file's bytes, and what became of its notes."""
    return get_tokenizer(scheme).encode_counted(parse_midi(data))


def check_tokens(tokens: Iterable[str], scheme: str = "classic") -> None:
    """Raise ValueError, naming the first token that the scheme does not have."""
    tokenizer = get_tokenizer(scheme)
    for token in tokens:
        tokenizer.check(token)


def transpose_tokens(tokens: Iterable[str], semitones: int, scheme: str = "classic") -> list[str]:
    """The tokens of the same music, so many semitones higher, up to 24 either way.

    A token with a pitch that would leave MIDI's range is moved back into it by octaves.

    Raises ValueError, naming it, for a token that the scheme does not have.
    """
    if semitones == 0:
        return list(tokens)
    tokenizer = get_tokenizer(scheme)

    def transposed(token: str) -> str:
        for octaves in (0, 12, -12, 24, -24):
            if (found := tokenizer.transpose(token, semitones + octaves)) is not None:
                return found
        raise ValueError(f"{token!r} can't be transposed by {semitones} semitones")

    return [transposed(token) for token in tokens]


def write_midi(
    tokens: Sequence[str],
    path: str | os.PathLike[str],
    *,
    scheme: str = "classic",
    tempo: float = 120.0,
    step: float = DEFAULT_STEP,
    program: int = 0,
) -> None:
    """Write tokens as a MIDI file that `read_tokens` reads back as the same tokens.

    Args:
        tempo: quarters a minute.
        step: quarters from one token to the next, in schemes whose tokens have no times of their
            own. Tokens of the classic scheme last one quarter, and are read back for steps of whole
            quarters and of thirds or fourths of a quarter: reading moves other onsets to the
            nearest such point.
        program: a General MIDI instrument, 0-127.

    Raises ValueError, naming it, for a token that the scheme does not have, and for an empty list,
    a step below 1/16 quarter, and a tempo or program that a MIDI file can't hold.
    """
    tokenizer = get_tokenizer(scheme)
    if not tokens:
        raise ValueError("there are no tokens to write")
    if not (math.isfinite(step) and step >= _SHORTEST_STEP):
        raise ValueError(f"step must be at least {_SHORTEST_STEP} quarter, not {step}")
    tracks = tokenizer.decode(tokens, step=step)
    write_notes(path, tracks, tempos=[(0, tempo)], program=program)
