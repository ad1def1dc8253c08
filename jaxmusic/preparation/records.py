"""What is known of files parsed before: a row of a ledger each, and the ids of their tokens.

A corpus is read as such, and so is the journal of a preparation that is under way (journal.py).
All that is kept in memory of a file is its path and nine numbers. Two of them are checksums: what
is read again, to be put into a corpus, is what was read or written first, or an error.

Where a corpus leaves out files as the same as others, the records are as if it didn't: such a file
has the tokens of the one that it is the same as.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import zlib
from array import array
from collections.abc import Sequence
from functools import partial
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.corpus import Corpus, DamagedCorpusError, LedgerRow, digest_of, read_about
from jaxmusic.errors import UserError, reason_of
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.reading import lines_of, open_stored, read_stored

Ids = npt.NDArray[np.unsignedinteger[Any]]

USED, EMPTY, SKIPPED, DUPLICATE = range(4)  # what became of a file, as here, and as in a ledger:
_KINDS = {"used": USED, "empty": EMPTY, "skipped": SKIPPED, "duplicate": DUPLICATE}
_DIGITS = 15  # of a digest, in hexadecimal, kept in memory: they fit into 64 bits

_READ_CHUNK = 1 << 20  # ids


class ChangedFileError(UserError):
    """A file that is in use doesn't hold any more what was read from it, or written to it."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        super().__init__(
            f"{printable(path)} was changed, or removed, while a corpus was prepared from it "
            f"({why}): start the same command again."
        )


def line_of(row: LedgerRow) -> bytes:
    """A row as a line of a ledger."""
    return json.dumps(vars(row)).encode() + b"\n"


def mark_of(row: LedgerRow) -> int:
    """The beginning of a file's digest, as records keep it."""
    return int(row.digest[:_DIGITS] or "0", 16)


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
        self._line_crcs = array("I")
        self._crcs = array("I")  # of the ids
        self._ledger, self._ids = ledger, ids
        self._dtype, self._offset = np.dtype(dtype), offset  # of ids in their file

    @classmethod
    def none(cls) -> Self:
        """No records."""
        return cls(io.BytesIO(), io.BytesIO(), np.uint16, 0)

    @classmethod
    def of(cls, corpus: Corpus) -> "Records":
        """The records of a whole corpus. Raises CorpusError when its ledger is not."""
        return _CorpusRecords(corpus)

    def __len__(self) -> int:
        return len(self.sizes)

    def add(self, row: LedgerRow, line: bytes, position: int) -> None:
        """Take a row, whose line begins at a byte, and whose ids follow those of the last row."""
        self.rows[row.path] = len(self)
        self.sizes.append(row.size)
        self.stamps.append(row.mtime_ns)
        self.starts.append(self.total)
        self.counts.append(row.tokens)
        self.marks.append(mark_of(row))
        self.kinds.append(_KINDS[row.status])
        self._lines.append(position)
        self._line_crcs.append(zlib.crc32(line))
        self.total += row.tokens

    def line(self, row: int) -> bytes:
        """A row as it stands in the ledger. Raises ChangedFileError."""
        return self._line(row)

    def row(self, row: int) -> LedgerRow:
        """A row. Raises ChangedFileError."""
        return LedgerRow.of_line(self._line(row))

    def crcs(self) -> Sequence[int]:
        """Checksums of the ids of all rows, for `read_songs`."""
        return self._crcs

    def read_song(self, row: int) -> Ids:
        """The ids of a row. Raises ChangedFileError."""
        return self.read_songs(self.starts[row], [self.counts[row]], [self.crcs()[row]])

    def read_songs(self, start: int, counts: Sequence[int], crcs: Sequence[int]) -> Ids:
        """The ids of rows that follow each other, checked against their checksums.

        Raises ChangedFileError.
        """
        ids = self._read_ids(start, sum(counts))
        position = 0
        for count, crc in zip(counts, crcs, strict=True):
            if zlib.crc32(ids[position : position + count].data) != crc:
                raise ChangedFileError(self._ids.name, "its checksums don't match")
            position += count
        return ids

    def _line(self, row: int) -> bytes:
        try:
            self._ledger.seek(self._lines[row])
            line = self._ledger.readline()
        except OSError as error:
            raise ChangedFileError(self._ledger.name, reason_of(error)) from error
        if zlib.crc32(line) != self._line_crcs[row]:
            raise ChangedFileError(self._ledger.name, "its checksums don't match")
        return line

    def _read_ids(self, start: int, count: int) -> Ids:
        """Some of the ids, unchecked."""
        try:
            self._ids.seek(self._offset + start * self._dtype.itemsize)
            ids = np.fromfile(self._ids, self._dtype, count)
        except OSError as error:
            raise ChangedFileError(self._ids.name, reason_of(error)) from error
        if len(ids) != count:
            raise ChangedFileError(self._ids.name, "it is cut off")
        return ids

    def close(self) -> None:
        """Close the files."""
        for file in (self._ledger, self._ids):
            with contextlib.suppress(OSError):  # of a full disk, which was told when it was written
                file.close()


class _CorpusRecords(Records):
    """The records of a corpus that was found whole."""

    def __init__(self, corpus: Corpus) -> None:
        tokens = corpus.tokens
        assert isinstance(tokens, np.memmap)
        ledger, ids = (
            read_stored(corpus.path / name, open_stored, partial(DamagedCorpusError, corpus.path))
            for name in ("ledger.jsonl", "tokens.npy")
        )
        super().__init__(ledger, ids, tokens.dtype, tokens.offset)
        self.words = list(corpus.vocabulary.tokens)
        about = read_about(corpus.path)
        self._digests = about.digests if about is not None else {}
        self._digest = corpus.digest
        position = 0
        try:
            for line in lines_of(self._ledger):
                self.add(LedgerRow.of_line(line), line, position)
                position += len(line)
        except (ValueError, OverflowError) as error:
            raise DamagedCorpusError(corpus.path, f"ledger.jsonl: {error}") from error
        if self.total != len(tokens):
            raise DamagedCorpusError(
                corpus.path,
                f"ledger.jsonl tells {self.total:,} tokens, where it holds {len(tokens):,}",
            )
        try:
            self._share_tokens()
        except ValueError as error:
            raise DamagedCorpusError(corpus.path, f"ledger.jsonl: {error}") from error

    def line(self, row: int) -> bytes:
        """A row as it stands in the ledger of a corpus that leaves out no duplicates."""
        return line_of(self.row(row)) if self.kinds[row] == DUPLICATE else self._line(row)

    def row(self, row: int) -> LedgerRow:
        """A row, as if nothing had been left out as a duplicate."""
        found = super().row(row)
        if self.kinds[row] == DUPLICATE:
            tokens = self.counts[row]
            return dataclasses.replace(found, tokens=tokens, status="used", reason="")
        return found

    def crcs(self) -> Sequence[int]:
        """Checksums of the ids of all rows.

        They are taken when they are asked for first, in the same pass in which the file proves to
        be the one that the corpus was found whole with. Raises ChangedFileError.
        """
        if not self._crcs:
            crcs, digest = self._read_all()
            if (
                self._digests.get("tokens.npy") != digest
                or digest_of(self._digests) != self._digest
            ):
                raise ChangedFileError(self._ids.name, "its digest doesn't match")
            self._crcs = array("I", crcs.tolist())
        return self._crcs

    def _read_all(self) -> tuple[npt.NDArray[np.uint32], str]:
        """The checksums of all rows, and the digest of the file, of one reading."""
        self._ids.seek(0)
        digest = hashlib.blake2b(self._ids.read(self._offset), digest_size=16)
        crcs = np.zeros(len(self), np.uint32)
        own = np.flatnonzero(np.array(self.kinds) != DUPLICATE)
        counts = np.array(self.counts)[own]
        ends = np.cumsum(counts)
        first = 0
        while first < len(own):
            # As many rows as a chunk holds, but one at least.
            before = ends[first] - counts[first]
            after = max(int(np.searchsorted(ends, before + _READ_CHUNK, "right")), first + 1)
            ids = self._read_ids(int(before), int(ends[after - 1] - before))
            digest.update(ids.data)
            position = 0
            for row, count in zip(
                own[first:after].tolist(), counts[first:after].tolist(), strict=True
            ):
                crcs[row] = zlib.crc32(ids[position : position + count].data)
                position += count
            first = after
        copies = np.flatnonzero(np.array(self.kinds) == DUPLICATE)
        crcs[copies] = crcs[self._originals]
        return crcs, digest.hexdigest()

    def _share_tokens(self) -> None:
        """Give rows that were left out as the same as others the tokens of those.

        Raises ValueError when there is no such other.
        """
        kinds, marks = np.array(self.kinds), np.array(self.marks)
        copies = np.flatnonzero(kinds == DUPLICATE)
        originals = np.flatnonzero((kinds == USED) & np.isin(marks, marks[copies]))
        by_digest = {self.row(row).digest: row for row in originals.tolist()}
        self._originals: list[int] = []  # rows of which those left out are copies
        for row in copies.tolist():
            found = self.row(row)
            if found.digest not in by_digest:
                raise ValueError(f"no file is the same as {found.path}")
            original = by_digest[found.digest]
            self.starts[row], self.counts[row] = self.starts[original], self.counts[original]
            self._originals.append(original)
