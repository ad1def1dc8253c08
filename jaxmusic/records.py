"""What is known of files parsed before: a row of a ledger each, and the ids of their tokens.

A corpus is read as such, and so is the journal of a preparation that is under way, or was stopped.
All that is kept in memory of a file is its path and seven numbers.

Where a corpus leaves out files as the same as others, the records are as if it didn't: such a file
has the tokens of the one that it is the same as.
"""

import contextlib
import dataclasses
import io
import itertools
import json
import os
import zlib
from array import array
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, Self

import msgspec
import numpy as np
import numpy.typing as npt

from jaxmusic.atomic import open_regular, writing
from jaxmusic.corpus import Corpus, DamagedCorpusError, LedgerRow
from jaxmusic.stored import Count, lines_of, open_stored, parse_json, read_stored

Ids = npt.NDArray[np.unsignedinteger[Any]]

USED, EMPTY, SKIPPED, DUPLICATE = range(4)  # what became of a file, as here, and as in a ledger:
_KINDS = {"used": USED, "empty": EMPTY, "skipped": SKIPPED, "duplicate": DUPLICATE}
_DIGITS = 15  # of a digest, in hexadecimal, kept in memory: they fit into 64 bits

_JOURNAL_FORMAT = 1


def line_of(row: LedgerRow) -> bytes:
    """A row as a line of a ledger."""
    return json.dumps(vars(row)).encode() + b"\n"


class JournalHeader(msgspec.Struct, frozen=True):
    """The first line of a journal."""

    journal: int  # its format
    scheme: str
    tokeniser: int


class _Batch(msgspec.Struct, frozen=True):
    """The line before the rows of a batch of files."""

    words: list[str]  # that are new
    rows: Count
    tokens: Count
    crc: Count  # of the ids


class Records:
    """Rows of a ledger and the ids that belong to them, on disk, found by the files' paths."""

    def __init__(
        self, ledger: IO[bytes], ids: IO[bytes], dtype: npt.DTypeLike, offset: int
    ) -> None:
        self.words: list[str] = []  # what the ids mean
        self.rows: dict[str, int] = {}  # path -> number of its (last) row
        self.sizes, self.stamps = array("q"), array("q")  # bytes, ns; a row each, as are these:
        self.starts, self.counts = array("q"), array("q")  # of tokens
        self.marks = array("q")  # the beginning of the digest; 0 if there is none
        self.kinds = array("b")  # USED, ...
        self.total = 0  # tokens of all rows
        self._lines = array("q")  # where the row's line is
        self._ledger, self._ids = ledger, ids
        self._dtype, self._offset = np.dtype(dtype), offset  # of ids in their file

    @classmethod
    def none(cls) -> Self:
        """No records."""
        return cls(io.BytesIO(), io.BytesIO(), np.uint16, 0)

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """The records of a whole corpus. Raises CorpusError when its ledger is not."""
        tokens = corpus.tokens
        assert isinstance(tokens, np.memmap)
        ledger, ids = (
            read_stored(corpus.path / name, open_stored, partial(DamagedCorpusError, corpus.path))
            for name in ("ledger.jsonl", "tokens.npy")
        )
        records = cls(ledger, ids, tokens.dtype, tokens.offset)
        records.words = list(corpus.vocabulary.tokens)
        position = 0
        try:
            for line in lines_of(ledger):
                records.add(LedgerRow.of_line(line), position)
                position += len(line)
        except (ValueError, OverflowError) as error:
            raise DamagedCorpusError(corpus.path, f"ledger.jsonl: {error}") from error
        if records.total != len(tokens):
            raise DamagedCorpusError(
                corpus.path,
                f"ledger.jsonl tells {records.total:,} tokens, where it holds {len(tokens):,}",
            )
        try:
            records._share_tokens()
        except ValueError as error:
            raise DamagedCorpusError(corpus.path, f"ledger.jsonl: {error}") from error
        return records

    def __len__(self) -> int:
        return len(self.sizes)

    def add(self, row: LedgerRow, line: int) -> None:
        """Take a row, whose line begins at a byte, and whose ids follow those of the last row."""
        self.rows[row.path] = len(self)
        self.sizes.append(row.size)
        self.stamps.append(row.mtime_ns)
        self.starts.append(self.total)
        self.counts.append(row.tokens)
        self.marks.append(int(row.digest[:_DIGITS] or "0", 16))
        self.kinds.append(_KINDS[row.status])
        self._lines.append(line)
        self.total += row.tokens

    def line(self, row: int) -> bytes:
        """A row as it stands in the ledger."""
        if self.kinds[row] == DUPLICATE:
            return line_of(self.row(row))
        self._ledger.seek(self._lines[row])
        return self._ledger.readline()

    def row(self, row: int) -> LedgerRow:
        """A row."""
        self._ledger.seek(self._lines[row])
        found = LedgerRow.of_line(self._ledger.readline())
        if self.kinds[row] == DUPLICATE:
            tokens = self.counts[row]
            return dataclasses.replace(found, tokens=tokens, status="used", reason="")
        return found

    def _share_tokens(self) -> None:
        """Give rows that were left out as the same as others the tokens of those.

        Raises ValueError when there is no such other.
        """
        kinds, marks = np.array(self.kinds), np.array(self.marks)
        copies = np.flatnonzero(kinds == DUPLICATE)
        originals = np.flatnonzero((kinds == USED) & np.isin(marks, marks[copies]))
        by_digest = {self.row(row).digest: row for row in originals.tolist()}
        for row in copies.tolist():
            found = self.row(row)
            if found.digest not in by_digest:
                raise ValueError(f"no file is the same as {found.path}")
            original = by_digest[found.digest]
            self.starts[row], self.counts[row] = self.starts[original], self.counts[original]

    def read_ids(self, start: int, count: int) -> Ids:
        """Some of the ids; fewer where the file ends before."""
        place = self._offset + start * self._dtype.itemsize
        count = min(count, (self._ids.seek(0, os.SEEK_END) - place) // self._dtype.itemsize)
        self._ids.seek(place)
        return np.fromfile(self._ids, self._dtype, count)

    def close(self) -> None:
        """Close the files."""
        for file in (self._ledger, self._ids):
            with contextlib.suppress(OSError):  # of a full disk, which was told when it was written
                file.close()


class Journal(Records):
    """Records that grow: what is parsed is on disk at once, and a stop loses none of it.

    `journal.jsonl` has a line that names the scheme, then for each batch of files a line (words
    that are new, number of rows and of tokens, checksum of the ids) and its rows; `stream.u32` has
    the ids. A batch that was not wholly written is cut off when the journal is opened again.
    """

    def __init__(self, folder: Path, scheme: str, tokeniser: int) -> None:
        """Open the journal of a folder, or begin one if there is none that can be gone on with."""
        paths = folder / "journal.jsonl", folder / "stream.u32"
        with writing(paths[0]):
            ledger, ids = (
                open(path, "r+b", opener=open_regular)  # noqa: SIM115 (until it is closed)
                for path in paths
            )
        super().__init__(ledger, ids, np.uint32, 0)
        self._numbers: dict[str, int] = {}
        header = {"journal": _JOURNAL_FORMAT, "scheme": scheme, "tokeniser": tokeniser}
        first = json.dumps(header).encode() + b"\n"
        end = self._resume(first)
        with writing(paths[0]):
            if not end:
                ledger.seek(0)
                ledger.write(first)
                end = len(first)
            ledger.truncate(end)
            ledger.flush()
            ids.truncate(4 * self.total)

    def _resume(self, header: bytes) -> int:
        """Take all whole batches; the byte at which the last one ends, 0 if there is no header."""
        self._ledger.seek(0)
        if self._ledger.readline() != header:
            return 0
        end = len(header)
        try:
            while line := self._ledger.readline():
                batch = parse_json(line, _Batch)
                position = end + len(line)
                rows = []
                for _ in range(batch.rows):
                    line = self._ledger.readline()
                    rows.append((LedgerRow.of_line(line), position))
                    position += len(line)
                tokens = self.read_ids(self.total, batch.tokens)
                whole = line.endswith(b"\n") and len(tokens) == sum(row.tokens for row, _ in rows)
                if not whole or zlib.crc32(tokens.data) != batch.crc:
                    break
                self.numbers_of(batch.words)
                self.words += batch.words
                for row, place in rows:
                    self.add(row, place)
                end = position
        except ValueError:  # a line that was not wholly written
            pass
        return end

    def numbers_of(self, words: Sequence[str]) -> npt.NDArray[np.uint32]:
        """The ids of words; those that are new get theirs."""
        for word in words:
            if word not in self._numbers:
                self._numbers[word] = len(self._numbers)
        return np.array([self._numbers[word] for word in words], np.uint32)

    def append(self, rows: Sequence[LedgerRow], ids: npt.NDArray[np.uint32]) -> None:
        """Write rows and, before them, the ids of their tokens, end to end."""
        words = list(itertools.islice(self._numbers, len(self.words), None))
        batch = {
            "words": words,
            "rows": len(rows),
            "tokens": len(ids),
            "crc": zlib.crc32(ids.data),
        }
        with writing(self._ledger.name):
            self._ids.seek(0, os.SEEK_END)
            self._ids.write(ids.data)
            self._ids.flush()
            position = self._ledger.seek(0, os.SEEK_END)
            lines = [json.dumps(batch).encode() + b"\n", *map(line_of, rows)]
            self._ledger.write(b"".join(lines))
            self._ledger.flush()
        for row, line in zip(rows, lines, strict=False):
            position += len(line)
            self.add(row, position)
        self.words.extend(words)
