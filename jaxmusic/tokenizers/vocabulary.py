"""The vocabulary: tokens to ids and back, and its file."""

import functools
import itertools
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from jaxmusic.storage.atomic import write_atomic
from jaxmusic.storage.reading import read_json
from jaxmusic.tokenizers.tokenizer import get_tokenizer

RARE = "<rare>"  # replaces all tokens too rare to learn, in every scheme; never generated

_FILE_FORMAT = 1
_MAX_FILE_SIZE = 1 << 30  # bytes


class _VocabularyFile(msgspec.Struct, frozen=True):
    format: int
    scheme: str
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The distinct tokens of a corpus, sorted. A token's id is its index."""

    tokens: tuple[str, ...]
    scheme: str = "classic"  # the name of their tokenizer

    def __post_init__(self) -> None:
        get_tokenizer(self.scheme)
        if any(first >= second for first, second in itertools.pairwise(self.tokens)):
            raise ValueError("the tokens of a vocabulary must be sorted, each once")

    @classmethod
    def of(cls, tokens: Iterable[str], scheme: str = "classic") -> "Vocabulary":
        """The vocabulary of tokens in any order, each any number of times."""
        return cls(tuple(sorted(set(tokens))), scheme)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read a vocabulary that `save` wrote. Raises ValueError for any other file."""
        try:
            content = read_json(path, _VocabularyFile, most=_MAX_FILE_SIZE)
            if content.format != _FILE_FORMAT:
                raise ValueError(f"its format is {content.format}, not {_FILE_FORMAT}")
            if not all(map(str.isprintable, content.tokens)):
                raise ValueError("its tokens are not all printable text")
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
        """The type of ids: uint16, or uint32 when there are more than 65,535 tokens."""
        small = len(self.tokens) <= np.iinfo(np.uint16).max
        return np.dtype(np.uint16) if small else np.dtype(np.uint32)

    def id_of(self, token: str) -> int:
        """The token's id. Raises KeyError for an unknown token."""
        return self._ids[token]

    def encode(self, tokens: Iterable[str]) -> npt.NDArray[np.unsignedinteger]:
        """The tokens' ids. Raises ValueError, naming it, for an unknown token."""
        ids = self._ids
        try:
            return np.array([ids[token] for token in tokens], dtype=self.dtype)
        except KeyError as error:
            raise ValueError(f"{error.args[0]!r} is not in the vocabulary") from None

    def decode(self, ids: Iterable[int | np.integer] | npt.NDArray[np.integer]) -> list[str]:
        """The ids' tokens. Raises ValueError, naming it, for an id that has no token."""
        numbers = ids.tolist() if isinstance(ids, np.ndarray) else [int(number) for number in ids]
        for number in numbers:
            if not 0 <= number < len(self.tokens):
                raise ValueError(f"{number} is not a token id: there are {len(self.tokens)} tokens")
        return [self.tokens[number] for number in numbers]

    def allowed_next(self) -> npt.NDArray[np.bool_] | None:
        """Which token may follow which: (tokens, tokens), rows by the token before.

        None for a scheme without a fixed vocabulary: there any token may follow any other.
        """
        tokenizer = get_tokenizer(self.scheme)
        if tokenizer.fixed_vocabulary() is None:
            return None
        tokens = self.tokens
        return np.array(
            [[tokenizer.may_follow(before, token) for token in tokens] for before in tokens], bool
        )

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}
