"""A prepared corpus: memory-mapped tokens of all songs, the vocabulary, the ledger of files."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxmusic.errors import UserError
from jaxmusic.names import shown
from jaxmusic.tokens import Vocabulary

FORMAT = 1  # of the corpus folder
DIGESTED = ("tokens.npy", "songs.npy", "vocabulary.json")  # what training reads
UNUSED_TOLD = 100  # files told one by one in a summary; the ledger has them all


class CorpusError(UserError):
    """A folder that gives no corpus, or a corpus that can't be used."""


@dataclass(frozen=True)
class LedgerRow:
    """What became of one input file."""

    path: str  # relative to the folder, with /
    size: int  # bytes
    digest: str  # of the file's bytes
    tokens: int
    status: Literal["used", "empty", "skipped", "duplicate"]
    reason: str = ""  # why it was skipped; or which file it is the same as
    mtime_ns: int = 0  # when it was changed last; 0: read it again to see whether it is the same


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

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Corpus":
        """Map a corpus that `prepare` made.

        Raises CorpusError when it isn't one, or isn't whole.
        """
        folder = Path(path)
        about = read_about(folder)
        if about is None:
            raise CorpusError(
                f"{folder} is not a corpus of format {FORMAT}: make one with "
                "scripts/prepare.py MIDI_DIR --corpus DIR."
            )
        try:
            tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
            offsets = np.load(folder / "songs.npy", allow_pickle=False)
            vocabulary = Vocabulary.load(folder / "vocabulary.json")
        except (OSError, ValueError, EOFError) as error:
            raise CorpusError(f"The corpus {folder} is damaged: {error}") from error
        counts = (len(tokens), len(offsets) - 1, len(vocabulary))
        told = (about["tokens"], about["songs"], about["distinct"])
        if counts != told or (len(tokens) and int(offsets[-1]) != len(tokens)):
            raise CorpusError(
                f"The corpus {folder} is damaged: it holds {counts} tokens, songs and distinct "
                f"tokens where its corpus.json tells {told}. Prepare it again."
            )
        return cls(folder, tokens, offsets, vocabulary, about["digest"])

    @cached_property
    def ledger(self) -> list[LedgerRow]:
        """A row for each input file, in the order of the stream."""
        return list(read_ledger(self.path))

    @property
    def songs(self) -> list[str]:
        """Paths of the files used, in the order of the stream."""
        return [row.path for row in read_ledger(self.path) if row.status == "used"]


def summary(corpus: Corpus) -> list[str]:
    """What a person is told of a corpus: a line each."""
    counts = Counter[str]()
    told: dict[str, list[str]] = {"empty": [], "skipped": []}
    for row in read_ledger(corpus.path):  # memory holds no more rows than are told
        counts[row.status] += 1
        if row.status in told and len(told[row.status]) < UNUSED_TOLD:
            why = row.reason if row.status == "skipped" else "it has no notes that count"
            told[row.status].append(f"  {row.status}: {shown(row.path)}: {why}")
    unused = [*told["empty"], *told["skipped"]][:UNUSED_TOLD]
    if (more := counts["empty"] + counts["skipped"] - len(unused)) > 0:
        unused.append(f"  and {more:,} more: see {shown(corpus.path / 'ledger.jsonl')}")
    return [
        f"{counts.total():,} files: {tell_counts(counts)}",
        *unused,
        *_tell_duplicates(corpus.path),
        f"{len(corpus.tokens):,} tokens, {len(corpus.vocabulary):,} distinct "
        f"({corpus.vocabulary.scheme} scheme), in {shown(corpus.path)}",
    ]


def tell_counts(counts: Counter[str]) -> str:
    """How many files are used and how many are not, by their status in the ledger."""
    text = f"{counts['used']:,} used, {counts['empty']:,} empty, {counts['skipped']:,} skipped"
    return text + (f", {counts['duplicate']:,} left out" if counts["duplicate"] else "")


def is_deduplicated(folder: Path) -> bool | None:
    """Whether a corpus leaves out files that are the same as others; None: it doesn't say so."""
    return _duplicates(folder).get("left_out")


def _duplicates(folder: Path) -> dict[str, Any]:
    """What corpus.json says of files that are the same as others; nothing in earlier versions."""
    duplicates = (read_about(folder) or {}).get("duplicates")
    return duplicates if isinstance(duplicates, dict) else {}


def _tell_duplicates(folder: Path) -> list[str]:
    duplicates = _duplicates(folder)
    if not duplicates.get("files"):
        return []
    pairs = [f"{shown(path)} as {shown(original)}" for path, original in duplicates["first"]]
    dots = ", ..." if duplicates["files"] > len(pairs) else ""
    what = "left out" if duplicates["left_out"] else "used all the same (not with --deduplicate)"
    return [
        f"{duplicates['files']:,} files with the same bytes as another one, {what}: "
        f"{', '.join(pairs)}{dots}"
    ]


def read_about(folder: Path) -> dict[str, Any] | None:
    try:
        about = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    needed = {"scheme", "tokeniser", "songs", "tokens", "distinct", "digest"}
    if not isinstance(about, dict) or about.get("format") != FORMAT or not needed <= about.keys():
        return None
    return about


def read_ledger(folder: Path) -> Iterator[LedgerRow]:
    """The rows of a corpus's ledger, one at a time. Raises CorpusError when it is damaged."""
    try:
        with (folder / "ledger.jsonl").open(encoding="utf-8") as ledger:
            for line in ledger:
                yield LedgerRow(**json.loads(line))
    except (OSError, ValueError, TypeError) as error:
        raise CorpusError(f"The corpus {folder} is damaged: ledger.jsonl: {error}") from error


def find_damage(folder: Path) -> str:
    """What is wrong with a corpus, as one sentence; empty if all is as it was written.

    Reads all of it.
    """
    remedy = "Prepare it again with --verify."
    try:
        Corpus.open(folder)
        found = {name: file_digest(folder / name) for name in (*DIGESTED, "ledger.jsonl")}
    except CorpusError as error:
        return str(error)
    except OSError as error:
        return f"The corpus {folder} is damaged: {error}. {remedy}"
    about = read_about(folder) or {}
    told = about.get("digests")
    if not isinstance(told, dict) or digest_of(told) != about["digest"]:
        return f"The corpus {folder} is damaged: corpus.json is not what was written. {remedy}"
    # Corpora of earlier versions have no digest of the ledger.
    told["ledger.jsonl"] = about.get("ledger", found["ledger.jsonl"])
    for name, digest in found.items():
        if digest != told.get(name):
            return f"The corpus {folder} is damaged: {name} is not what was written. {remedy}"
    return ""


def file_digest(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_of(digests: Mapping[str, str]) -> str:
    """The digest of a corpus, out of those of its files."""
    joined = "".join(str(digests.get(name)) for name in DIGESTED)
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()
