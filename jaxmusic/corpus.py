"""A prepared corpus: memory-mapped tokens of all songs, the vocabulary, the ledger of files."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxmusic.errors import UserError
from jaxmusic.tokens import Vocabulary

FORMAT = 1  # of the corpus folder
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
    status: Literal["used", "empty", "skipped"]
    reason: str = ""  # why it was skipped


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
        return _read_ledger(self.path)

    @property
    def songs(self) -> list[str]:
        """Paths of the files used, in the order of the stream."""
        return [row.path for row in self.ledger if row.status == "used"]


def summary(corpus: Corpus) -> list[str]:
    """What a person is told of a corpus: a line each."""
    by_status = {
        status: [row for row in corpus.ledger if row.status == status]
        for status in ("used", "empty", "skipped")
    }
    unused = [
        *(f"  empty: {row.path} has no notes that count" for row in by_status["empty"]),
        *(f"  skipped: {row.path}: {row.reason}" for row in by_status["skipped"]),
    ]
    if len(unused) > UNUSED_TOLD:
        more = f"  and {len(unused) - UNUSED_TOLD:,} more: see {corpus.path / 'ledger.jsonl'}"
        unused = [*unused[:UNUSED_TOLD], more]
    return [
        f"{len(corpus.ledger):,} files: {len(by_status['used']):,} used, "
        f"{len(by_status['empty']):,} empty, {len(by_status['skipped']):,} skipped",
        *unused,
        f"{len(corpus.tokens):,} tokens, {len(corpus.vocabulary):,} distinct "
        f"({corpus.vocabulary.scheme} scheme), in {corpus.path}",
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


def _read_ledger(folder: Path) -> list[LedgerRow]:
    try:
        with (folder / "ledger.jsonl").open(encoding="utf-8") as ledger:
            return [LedgerRow(**json.loads(line)) for line in ledger]
    except (OSError, ValueError, TypeError) as error:
        raise CorpusError(f"The corpus {folder} is damaged: ledger.jsonl: {error}") from error
