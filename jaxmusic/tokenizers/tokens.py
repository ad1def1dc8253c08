"""Tokens: from a MIDI file, to a MIDI file, and to numbers."""

import functools
import itertools
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from jaxmusic.midi.reader import parse_midi, read_midi
from jaxmusic.midi.types import Note
from jaxmusic.midi.writer import TICKS_PER_QUARTER, write_notes
from jaxmusic.storage.atomic import write_atomic
from jaxmusic.storage.reading import read_json
from jaxmusic.tokenizers.classic import classic_tokens
from jaxmusic.tokenizers.pitch_names import pitches_of

SCHEMES = ("classic",)
RARE = "<rare>"  # stands for all tokens too rare to be learnt; no music is written for it

_FILE_FORMAT = 1  # of vocabulary files
_LARGEST_FILE = 1 << 30  # bytes of one
_SHORTEST_STEP = 1 / 16  # quarters; tokens any closer would be read as one chord


class _VocabularyFile(msgspec.Struct, frozen=True):
    format: int
    scheme: str
    tokens: tuple[str, ...]


def read_tokens(path: str | os.PathLike[str], scheme: str = "classic") -> list[str]:
    """The tokens of a MIDI file by the scheme.

    Raises OSError when the file can't be opened, MidiError (a ValueError) with the reason when it
    can't be read as MIDI or has no notes, ValueError for an unknown scheme. The list may be
    empty: see `jaxmusic.tokenizers.classic`.
    """
    check_scheme(scheme)
    return classic_tokens(read_midi(path))


def parse_tokens(data: bytes, scheme: str = "classic") -> list[str]:
    """The same of a file's bytes. Raises MidiError, and ValueError for an unknown scheme."""
    check_scheme(scheme)
    return classic_tokens(parse_midi(data))


def check_scheme(scheme: str) -> None:
    """Raise ValueError, naming the known schemes, if this is none of them."""
    if scheme not in SCHEMES:
        raise ValueError(f"unknown token scheme {scheme!r}; known: {', '.join(SCHEMES)}")


def check_tokens(tokens: Iterable[str], scheme: str = "classic") -> None:
    """Raise ValueError, naming the first that the scheme does not have, if there is one."""
    check_scheme(scheme)
    for token in tokens:
        pitches_of(token)


def write_midi(
    tokens: Sequence[str],
    path: str | os.PathLike[str],
    *,
    scheme: str = "classic",
    tempo: float = 120.0,
    step: float = 0.5,
    program: int = 0,
) -> None:
    """Write tokens as a MIDI file that `read_tokens` reads back as the same tokens.

    Each token begins `step` quarter notes after the one before and lasts one quarter. `tempo` is
    in quarters a minute, `program` a General MIDI instrument (0-127). Tokens that sound at one
    time stand in tracks of their own, so that a pitch struck again does not cut the one before.

    They are read back for steps of whole quarters, and of thirds or fourths of a quarter: other
    onsets move to the nearest such point when they are read.

    Raises ValueError, naming it, for a token that the scheme does not have, and for an empty
    list, a step below 1/16 quarter, a tempo or a program that a MIDI file can't hold.
    """
    check_scheme(scheme)
    if not tokens:
        raise ValueError("there are no tokens to write")
    if not (math.isfinite(step) and step >= _SHORTEST_STEP):
        raise ValueError(f"step must be at least {_SHORTEST_STEP} quarter, not {step}")
    tracks: list[list[Note]] = [[] for _ in range(min(len(tokens), math.ceil(1 / step)))]
    for place, token in enumerate(tokens):
        start = round(place * step * TICKS_PER_QUARTER)
        end = start + TICKS_PER_QUARTER
        tracks[place % len(tracks)] += [Note(start, end, pitch) for pitch in pitches_of(token)]
    write_notes(path, tracks, tempos=[(0, tempo)], program=program)


@dataclass(frozen=True)
class Vocabulary:
    """The distinct tokens of a corpus, sorted. A token's id is its place."""

    tokens: tuple[str, ...]
    scheme: str = "classic"  # what the tokens mean; one of SCHEMES

    def __post_init__(self) -> None:
        check_scheme(self.scheme)
        if any(first >= second for first, second in itertools.pairwise(self.tokens)):
            raise ValueError("the tokens of a vocabulary must be sorted, each once")

    @classmethod
    def of(cls, tokens: Iterable[str], scheme: str = "classic") -> "Vocabulary":
        """The vocabulary of a stream of tokens, in any order and number."""
        return cls(tuple(sorted(set(tokens))), scheme)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read a vocabulary that `save` wrote. Raises ValueError if the file is anything else."""
        try:
            content = read_json(path, _VocabularyFile, most=_LARGEST_FILE)
            if content.format != _FILE_FORMAT:
                raise ValueError(f"its format is {content.format}, not {_FILE_FORMAT}")
            if not all(map(str.isprintable, content.tokens)):
                raise ValueError("its tokens are no list of texts")
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} is not a vocabulary: {error}") from None
        try:
            return cls(content.tokens, content.scheme)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} can't be used: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON. The file appears whole or not at all."""
        content = {"format": _FILE_FORMAT, "scheme": self.scheme, "tokens": self.tokens}
        write_atomic(path, json.dumps(content, indent=0) + "\n")

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The type of encoded tokens: uint16, or uint32 when there are more than 65,535."""
        small = len(self.tokens) <= np.iinfo(np.uint16).max
        return np.dtype(np.uint16) if small else np.dtype(np.uint32)

    def place(self, token: str) -> int:
        """The token's id. Raises KeyError for one that is not here."""
        return self._ids[token]

    def encode(self, tokens: Iterable[str]) -> npt.NDArray[np.unsignedinteger]:
        """The tokens' ids. Raises ValueError, naming it, for a token that is not here."""
        ids = self._ids
        try:
            return np.array([ids[token] for token in tokens], dtype=self.dtype)
        except KeyError as error:
            raise ValueError(f"{error.args[0]!r} is not in the vocabulary") from None

    def decode(self, ids: Iterable[int | np.integer] | npt.NDArray[np.integer]) -> list[str]:
        """The tokens of the ids. Raises ValueError, naming it, for an id that has no token."""
        places = ids.tolist() if isinstance(ids, np.ndarray) else [int(place) for place in ids]
        for place in places:
            if not 0 <= place < len(self.tokens):
                raise ValueError(f"{place} is no token id: there are {len(self.tokens)} tokens")
        return [self.tokens[place] for place in places]

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self.tokens)}
