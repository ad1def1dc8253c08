"""A prepared corpus: memory-mapped tokens of all songs, the vocabulary, the ledger of files."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.corpus.metadata import (
    MAX_METADATA_BYTES,
    CorpusMetadata,
    MetadataHeader,
    Source,
    load_metadata,
)
from jaxmusic.errors import UserError, reason_of
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.reading import (
    Read,
    file_digest,
    map_array,
    read_json,
    read_lines,
    read_verified,
)
from jaxmusic.tokenizers.tokenizer import check_tokens
from jaxmusic.tokenizers.vocabulary import Vocabulary

SOURCE_NAMES: dict[Source, str] = {
    "midi": "MIDI files",
    "notes": "notes (--notes)",
    "piano_rolls": "piano rolls (--piano-rolls)",
}
FORMAT = 1  # of the corpus folder
DIGESTED = ("tokens.npy", "songs.npy", "vocabulary.json")  # what training reads
FILES = (*DIGESTED, "ledger.jsonl", "corpus.json")
REMEDY = "Copy it again, whole, or prepare it again."
MAX_OFFSETS_BYTES = 1 << 32  # of songs.npy, which is held in memory: 500 million songs
CHECK_CHUNK = 1 << 20  # tokens checked at a time
ANNOUNCED_BYTES = 1 << 30  # tokens of a corpus whose check takes a while
COUNT_CHUNK = 1 << 24  # tokens counted at a time


class CorpusError(UserError):
    """A folder without a corpus, or a corpus that can't be used."""


class DamagedCorpusError(CorpusError):
    """A corpus that differs from what was written; `fault` is the sentence that says where."""

    def __init__(self, folder: Path, what: object) -> None:
        self.fault = f"The corpus {folder} is damaged: {what}"
        super().__init__(f"{self.fault}. {REMEDY}")


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus, opened.

    `tokens`, the ids of all songs end to end, is memory-mapped. `offsets`, `(songs + 1,)`, holds
    the start of each song and the end of the last one.
    """

    path: Path
    tokens: np.ndarray
    offsets: np.ndarray
    vocabulary: Vocabulary
    digest: str  # of all that training reads: tokens, offsets, vocabulary
    tokenizer_version: int

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Corpus":
        """Map a corpus that `prepare` made. Checks its structure, not all tokens.

        Raises CorpusError when it isn't a corpus, or isn't whole.
        """
        folder = Path(path)
        metadata = _metadata_of(folder)
        tokens = _part(folder, "tokens.npy", map_array)
        offsets = np.array(_part(folder, "songs.npy", partial(map_array, most=MAX_OFFSETS_BYTES)))
        vocabulary = _part(folder, "vocabulary.json", Vocabulary.load)
        if tokens.ndim != 1 or tokens.dtype != vocabulary.dtype:
            raise DamagedCorpusError(
                folder,
                f"tokens.npy has the shape {tokens.shape} and the type {tokens.dtype}, where one "
                f"dimension of {vocabulary.dtype} is expected",
            )
        if (
            offsets.ndim != 1
            or offsets.dtype != np.int64
            or offsets[0] != 0
            or offsets[-1] != len(tokens)
            or (offsets[1:] < offsets[:-1]).any()
        ):
            raise DamagedCorpusError(
                folder, f"songs.npy doesn't hold the offsets of songs in {len(tokens):,} tokens"
            )
        counts = (len(tokens), len(offsets) - 1, len(vocabulary))
        recorded = (metadata.tokens, metadata.songs, metadata.distinct)
        if counts != recorded:
            raise DamagedCorpusError(
                folder,
                f"its files hold {_counted(counts)}, but corpus.json says {_counted(recorded)}",
            )
        if vocabulary.scheme != metadata.scheme:
            raise DamagedCorpusError(
                folder,
                f"vocabulary.json has the scheme {vocabulary.scheme}, but corpus.json "
                f"says {metadata.scheme!r}",
            )
        return cls(folder, tokens, offsets, vocabulary, metadata.digest, metadata.tokeniser)

    @classmethod
    def open_checked(
        cls, path: str | os.PathLike[str], log: Callable[[str], None] = lambda line: None
    ) -> "Corpus":
        """Open a corpus after reading all of it: every byte is as it was written.

        `log` gets a line before a long check. Raises CorpusError as `open` does, and when a file
        doesn't match its digest or a token is outside the vocabulary.
        """
        folder = Path(path)
        corpus = cls.open(folder)
        if corpus.tokens.nbytes > ANNOUNCED_BYTES:
            log(f"Checking {corpus.tokens.nbytes / 1e9:,.1f} GB of the corpus {folder}.")
        corpus.check_digests()
        # Any other fault was written so, with a matching digest.
        size = len(corpus.vocabulary)
        for start in range(0, len(corpus.tokens), CHECK_CHUNK):
            # A new map per chunk: pages that were read stay in memory as long as their map.
            chunk = map_array(folder / "tokens.npy")[start : start + CHECK_CHUNK]
            if (most := int(chunk.max())) >= size:
                raise DamagedCorpusError(
                    folder, f"tokens.npy has the token id {most}, but the vocabulary {size} tokens"
                )
        try:
            check_tokens(corpus.vocabulary.tokens, corpus.vocabulary.scheme)
        except ValueError as error:
            raise DamagedCorpusError(folder, f"vocabulary.json: {error}") from None
        return corpus

    def check_digests(self, ignore: Collection[str] = ()) -> None:
        """Raise CorpusError when a file, except those named, doesn't match its digest."""
        metadata = _metadata_of(self.path)
        if digest_of(metadata.digests) != self.digest:
            raise DamagedCorpusError(self.path, "corpus.json is not what was written")
        digests = {name: metadata.digests.get(name) for name in DIGESTED}
        for name, digest in {**digests, "ledger.jsonl": metadata.ledger}.items():
            if name not in ignore and _part(self.path, name, file_digest) != digest:
                raise DamagedCorpusError(self.path, f"{name} is not what was written")

    @cached_property
    def ledger(self) -> list[LedgerRow]:
        """A row for each input file, in the order of the corpus."""
        return list(read_ledger(self.path))

    @property
    def songs(self) -> list[str]:
        """Paths of the files used, in the order of the corpus.

        Raises CorpusError when the ledger is damaged.
        """
        names = [row.path for row in read_ledger(self.path) if row.status == "used"]
        self.check_ledger(len(names))
        return names

    def check_ledger(self, used: int) -> None:
        """Raise CorpusError unless the corpus has as many songs as its ledger has used files."""
        if used != (songs := len(self.offsets) - 1):
            raise DamagedCorpusError(
                self.path, f"ledger.jsonl lists {used:,} files used, but there are {songs:,} songs"
            )


def is_deduplicated(folder: Path) -> bool | None:
    """Whether a corpus leaves out files that are the same as others; None: it doesn't say so."""
    metadata = read_metadata(folder)
    return metadata.duplicates.left_out if metadata is not None else None


def read_metadata(folder: Path) -> CorpusMetadata | None:
    """The corpus.json of a corpus; None if it is missing or can't be used."""
    try:
        return _metadata_of(folder)
    except CorpusError:
        return None


def _metadata_of(folder: Path) -> CorpusMetadata:
    """The corpus.json of a corpus. Raises CorpusError with the reason when it can't be used."""
    if not (folder / "corpus.json").exists():
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
        if found and found <= set(FILES):
            raise DamagedCorpusError(folder, "corpus.json is missing (half-copied?)")
        raise CorpusError(
            f"{folder} is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus DIR."
        )
    header = _part(
        folder, "corpus.json", partial(read_json, kind=MetadataHeader, most=MAX_METADATA_BYTES)
    )
    if header.is_of_run:
        raise CorpusError(
            f"{printable(folder)} holds a run, not a corpus: give the corpus that it was trained "
            f"on ({printable(header.path or '')})."
        )
    version = header.format
    if version is not None and version != FORMAT:
        made = "a newer" if version > FORMAT else "an older"
        remedy = "update jaxmusic" if version > FORMAT else "prepare it again"
        raise CorpusError(
            f"The corpus {folder} was made by {made} version of jaxmusic (format {version}; this "
            f"one reads {FORMAT}): {remedy}."
        )
    return _part(folder, "corpus.json", load_metadata)


def _counted(counts: tuple[int, int, int]) -> str:
    tokens, songs, distinct = counts
    return f"{tokens:,} tokens, {songs:,} songs and {distinct:,} distinct tokens"


def _part(folder: Path, name: str, read: Callable[[Path], Read]) -> Read:
    """Read one file of a corpus. Raises CorpusError."""
    return read_verified(folder / name, read, partial(DamagedCorpusError, folder))


def read_ledger(folder: Path) -> Iterator[LedgerRow]:
    """The rows of a corpus's ledger, one at a time. Raises CorpusError when it is damaged."""
    try:
        for line in read_lines(folder / "ledger.jsonl"):
            yield LedgerRow.of_line(line)
    except (OSError, ValueError) as error:
        raise DamagedCorpusError(folder, f"ledger.jsonl: {reason_of(error)}") from error


def find_damage(folder: Path) -> str:
    """Read a whole corpus: the sentence on its first fault, empty if there is none."""
    try:
        Corpus.open_checked(folder)
    except CorpusError as error:
        return str(error)
    return ""


def digest_of(digests: Mapping[str, str]) -> str:
    """The digest of a corpus, from those of its files."""
    joined = "".join(str(digests.get(name)) for name in DIGESTED)
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


def token_counts(corpus: Corpus) -> np.ndarray:
    """How often each token of the vocabulary occurs: (vocabulary,) int64.

    Raises CorpusError when the corpus has other tokens.
    """
    counts = np.zeros(len(corpus.vocabulary), np.int64)
    for start in range(0, len(corpus.tokens), COUNT_CHUNK):
        chunk = np.bincount(
            corpus.tokens[start : start + COUNT_CHUNK], minlength=len(corpus.vocabulary)
        )
        if len(chunk) > len(counts):
            raise DamagedCorpusError(
                corpus.path,
                f"tokens.npy has the token id {len(chunk) - 1}, but the vocabulary "
                f"{len(counts)} tokens",
            )
        counts += chunk
    return counts
