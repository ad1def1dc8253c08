"""A prepared corpus: memory-mapped tokens of all songs, the vocabulary, the ledger of files."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np

from jaxmusic.corpus.corpus_file import (
    LARGEST_ABOUT,
    AboutHeader,
    CorpusAbout,
    Source,
    read_corpus_about,
)
from jaxmusic.errors import UserError, reason_of
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.reading import (
    Count,
    Int64,
    Read,
    file_digest,
    map_array,
    parse_json,
    read_json,
    read_lines,
    read_stored,
)
from jaxmusic.tokenizers.tokens import Vocabulary, check_tokens

Status = Literal["used", "empty", "skipped", "duplicate"]

SOURCES: dict[Source, str] = {"midi": "MIDI files", "notes": "notes (--notes)"}
FORMAT = 1  # of the corpus folder
DIGESTED = ("tokens.npy", "songs.npy", "vocabulary.json")  # what training reads
FILES = (*DIGESTED, "ledger.jsonl", "corpus.json")
REMEDY = "Copy it again, whole, or prepare it again."
LARGEST_OFFSETS = 1 << 32  # bytes of songs.npy, which is held in memory: 500 million songs
CHECK_CHUNK = 1 << 20  # tokens looked at at a time
BYTES_TOLD = 1 << 30  # of a corpus whose check takes a while
UNUSED_TOLD = 100  # files told one by one in a summary; the ledger has them all


COUNT_CHUNK = 1 << 24  # tokens counted at a time


class CorpusError(UserError):
    """A folder that gives no corpus, or a corpus that can't be used."""


class DamagedCorpusError(CorpusError):
    """A corpus that is not what was written; `fault` is the sentence that says in what."""

    def __init__(self, folder: Path, what: object) -> None:
        self.fault = f"The corpus {folder} is damaged: {what}"
        super().__init__(f"{self.fault}. {REMEDY}")


@dataclass(frozen=True)
class LedgerRow:
    """What became of one input file."""

    path: str  # relative to the folder, with /
    size: Count  # bytes
    digest: str  # of the file's bytes
    tokens: Count
    status: Status
    reason: str = ""  # why it was skipped; or which file it is the same as
    mtime_ns: Int64 = 0  # when it was changed last; 0: read it again to see whether it is the same

    @classmethod
    def of_line(cls, line: bytes | str) -> "LedgerRow":
        """The row that a line of a ledger is. Raises ValueError when it is anything else."""
        row = parse_json(line, cls)
        row.path.encode("utf-8", "surrogateescape")  # ValueError: no system has such a path
        return row


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus, opened.

    `tokens` (ids of all songs end to end) is memory-mapped; `offsets` (songs + 1) tells where
    each song starts and where the last one ends.
    """

    path: Path
    tokens: np.ndarray
    offsets: np.ndarray
    vocabulary: Vocabulary
    digest: str  # of all that training reads: tokens, offsets, vocabulary
    tokeniser: int  # the version that made the tokens

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Corpus":
        """Map a corpus that `prepare` made, after looking at its structure, not at all tokens.

        Raises CorpusError when it isn't one, or isn't whole.
        """
        folder = Path(path)
        about = _about_of(folder)
        tokens = _part(folder, "tokens.npy", map_array)
        offsets = np.array(_part(folder, "songs.npy", partial(map_array, most=LARGEST_OFFSETS)))
        vocabulary = _part(folder, "vocabulary.json", Vocabulary.load)
        if tokens.ndim != 1 or tokens.dtype != vocabulary.dtype:
            raise DamagedCorpusError(
                folder,
                f"tokens.npy has the shape {tokens.shape} and the type {tokens.dtype}, where a row "
                f"of {vocabulary.dtype} is expected",
            )
        if (
            offsets.ndim != 1
            or offsets.dtype != np.int64
            or offsets[0] != 0
            or offsets[-1] != len(tokens)
            or (offsets[1:] < offsets[:-1]).any()
        ):
            raise DamagedCorpusError(
                folder, f"songs.npy tells no places of songs among {len(tokens):,} tokens"
            )
        counts = (len(tokens), len(offsets) - 1, len(vocabulary))
        told = (about.tokens, about.songs, about.distinct)
        if counts != told:
            raise DamagedCorpusError(
                folder,
                f"its files hold {_counted(counts)}, where its corpus.json tells {_counted(told)}",
            )
        if vocabulary.scheme != about.scheme:
            raise DamagedCorpusError(
                folder,
                f"vocabulary.json is of the scheme {vocabulary.scheme}, where its corpus.json "
                f"tells {about.scheme!r}",
            )
        return cls(folder, tokens, offsets, vocabulary, about.digest, about.tokeniser)

    @classmethod
    def open_checked(
        cls, path: str | os.PathLike[str], tell: Callable[[str], None] = lambda line: None
    ) -> "Corpus":
        """Open a corpus after reading all of it: every byte is as it was written.

        `tell` gets a line before what takes seconds. Raises CorpusError as `open` does, and when
        a file doesn't match its digest or a token is none of the vocabulary's.
        """
        folder = Path(path)
        corpus = cls.open(folder)
        if corpus.tokens.nbytes > BYTES_TOLD:
            tell(f"Checking {corpus.tokens.nbytes / 1e9:,.1f} GB of the corpus {folder}.")
        corpus.check_digests()
        # What is wrong beyond this was written so, digests and all.
        size = len(corpus.vocabulary)
        for start in range(0, len(corpus.tokens), CHECK_CHUNK):
            # Each through a map of its own: what was looked at of one map stays in memory with it.
            some = map_array(folder / "tokens.npy")[start : start + CHECK_CHUNK]
            if (most := int(some.max())) >= size:
                raise DamagedCorpusError(
                    folder, f"tokens.npy has the token {most}, of a vocabulary of {size}"
                )
        try:
            check_tokens(corpus.vocabulary.tokens, corpus.vocabulary.scheme)
        except ValueError as error:
            raise DamagedCorpusError(folder, f"vocabulary.json: {error}") from None
        return corpus

    def check_digests(self, but: Collection[str] = ()) -> None:
        """Raise CorpusError when a file, but those named, doesn't match its digest."""
        about = _about_of(self.path)
        if digest_of(about.digests) != self.digest:
            raise DamagedCorpusError(self.path, "corpus.json is not what was written")
        digests = {name: about.digests.get(name) for name in DIGESTED}
        for name, digest in {**digests, "ledger.jsonl": about.ledger}.items():
            if name not in but and _part(self.path, name, file_digest) != digest:
                raise DamagedCorpusError(self.path, f"{name} is not what was written")

    @cached_property
    def ledger(self) -> list[LedgerRow]:
        """A row for each input file, in the order of the stream."""
        return list(read_ledger(self.path))

    @property
    def songs(self) -> list[str]:
        """Paths of the files used, in the order of the stream.

        Raises CorpusError when the ledger is damaged.
        """
        names = [row.path for row in read_ledger(self.path) if row.status == "used"]
        self.check_ledger(len(names))
        return names

    def check_ledger(self, used: int) -> None:
        """Raise CorpusError when its ledger tells of another number of files used than this has."""
        if used != (songs := len(self.offsets) - 1):
            raise DamagedCorpusError(
                self.path, f"ledger.jsonl tells {used:,} files used, where {songs:,} songs are here"
            )


def summary(corpus: Corpus) -> list[str]:
    """What a person is told of a corpus: a line each. Raises CorpusError for another ledger."""
    corpus.check_digests(but=DIGESTED)
    counts = Counter[str]()
    told: dict[str, list[str]] = {"empty": [], "skipped": []}
    for row in read_ledger(corpus.path):  # memory holds no more rows than are told
        counts[row.status] += 1
        if row.status in told and len(told[row.status]) < UNUSED_TOLD:
            why = row.reason if row.status == "skipped" else "it has no notes that count"
            told[row.status].append(f"  {row.status}: {printable(row.path)}: {why}")
    unused = [*told["empty"], *told["skipped"]][:UNUSED_TOLD]
    if (more := counts["empty"] + counts["skipped"] - len(unused)) > 0:
        unused.append(f"  and {more:,} more: see {printable(corpus.path / 'ledger.jsonl')}")
    return [
        f"{counts.total():,} files: {tell_counts(counts)}",
        *unused,
        *_tell_duplicates(corpus.path),
        f"{len(corpus.tokens):,} tokens, {len(corpus.vocabulary):,} distinct "
        f"({corpus.vocabulary.scheme} scheme), in {printable(corpus.path)}",
    ]


def tell_counts(counts: Counter[str]) -> str:
    """How many files are used and how many are not, by their status in the ledger."""
    text = f"{counts['used']:,} used, {counts['empty']:,} empty, {counts['skipped']:,} skipped"
    return text + (f", {counts['duplicate']:,} left out" if counts["duplicate"] else "")


def is_deduplicated(folder: Path) -> bool | None:
    """Whether a corpus leaves out files that are the same as others; None: it doesn't say so."""
    about = read_about(folder)
    return about.duplicates.left_out if about is not None else None


def _tell_duplicates(folder: Path) -> list[str]:
    duplicates = _about_of(folder).duplicates
    if not duplicates.files:
        return []
    pairs = [f"{printable(path)} as {printable(original)}" for path, original in duplicates.first]
    dots = ", ..." if duplicates.files > len(pairs) else ""
    what = "left out" if duplicates.left_out else "used all the same (not with --deduplicate)"
    return [
        f"{duplicates.files:,} files with the same bytes as another one, {what}: "
        f"{', '.join(pairs)}{dots}"
    ]


def read_about(folder: Path) -> CorpusAbout | None:
    """What a corpus's corpus.json tells; None if there is none that can be used."""
    try:
        return _about_of(folder)
    except CorpusError:
        return None


def _about_of(folder: Path) -> CorpusAbout:
    """What a corpus's corpus.json tells. Raises CorpusError saying why there is none."""
    if not (folder / "corpus.json").exists():
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
        if found and found <= set(FILES):
            raise DamagedCorpusError(folder, "corpus.json is missing (half-copied?)")
        raise CorpusError(
            f"{folder} is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus DIR."
        )
    header = _part(folder, "corpus.json", partial(read_json, kind=AboutHeader, most=LARGEST_ABOUT))
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
    return _part(folder, "corpus.json", read_corpus_about)


def _counted(counts: tuple[int, int, int]) -> str:
    tokens, songs, distinct = counts
    return f"{tokens:,} tokens, {songs:,} songs and {distinct:,} distinct tokens"


def _part(folder: Path, name: str, read: Callable[[Path], Read]) -> Read:
    """One file of a corpus, read. Raises CorpusError."""
    return read_stored(folder / name, read, partial(DamagedCorpusError, folder))


def read_ledger(folder: Path) -> Iterator[LedgerRow]:
    """The rows of a corpus's ledger, one at a time. Raises CorpusError when it is damaged."""
    try:
        for line in read_lines(folder / "ledger.jsonl"):
            yield LedgerRow.of_line(line)
    except (OSError, ValueError) as error:
        raise DamagedCorpusError(folder, f"ledger.jsonl: {reason_of(error)}") from error


def find_damage(folder: Path) -> str:
    """What is wrong with a corpus, as one sentence; empty if all is as it was written.

    Reads all of it.
    """
    try:
        Corpus.open_checked(folder)
    except CorpusError as error:
        return str(error)
    return ""


def digest_of(digests: Mapping[str, str]) -> str:
    """The digest of a corpus, out of those of its files."""
    joined = "".join(str(digests.get(name)) for name in DIGESTED)
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


def token_counts(corpus: Corpus) -> np.ndarray:
    """How often the corpus has each token of its vocabulary: (tokens,) int64.

    Raises CorpusError when it has others.
    """
    counts = np.zeros(len(corpus.vocabulary), np.int64)
    for start in range(0, len(corpus.tokens), COUNT_CHUNK):
        chunk = np.bincount(
            corpus.tokens[start : start + COUNT_CHUNK], minlength=len(corpus.vocabulary)
        )
        if len(chunk) > len(counts):
            raise DamagedCorpusError(
                corpus.path,
                f"tokens.npy has the token {len(chunk) - 1}, of a vocabulary of {len(counts)}",
            )
        counts += chunk
    return counts
