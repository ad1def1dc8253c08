"""Files that were parsed before: ledger rows and token ids, on disk.

They are read from a finished corpus, or from the journal of a preparation (journal.py). Memory
holds a file's path and nine numbers. Two of these are checksums: a row or song that is read again,
to go into a new corpus, is what was read or written first, or an error is raised.

A corpus may leave out duplicates. Here they count as used: a duplicate has the tokens of the file
that it duplicates.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import zlib
from array import array
from collections.abc import Sequence
from functools import partial
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.corpus import Corpus, DamagedCorpusError, digest_of, read_metadata
from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.errors import UserError, reason_of
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.reading import iter_lines, open_to_read, read_verified

Ids = npt.NDArray[np.unsignedinteger[Any]]

USED, EMPTY, SKIPPED, DUPLICATE = range(4)  # a row's status as a number
_STATUSES = {"used": USED, "empty": EMPTY, "skipped": SKIPPED, "duplicate": DUPLICATE}
_PREFIX_DIGITS = 15  # hexadecimal digits of a digest that memory holds: they fit into 64 bits

_READ_CHUNK = 1 << 20  # ids


class ChangedFileError(UserError):
    """A file in use no longer holds what was read from it or written to it."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        super().__init__(
            f"{printable(path)} was changed, or removed, while a corpus was prepared from it "
            f"({why}): start the same command again."
        )


def digest_prefix(row: LedgerRow) -> int:
    """The first digits of a file's digest as a number; 0 for a file without a digest."""
    return int(row.digest[:_PREFIX_DIGITS] or "0", 16)


class ParsedFiles:
    """Ledger rows and their token ids, by row number; row numbers by path."""

    def __init__(
        self, ledger: IO[bytes], ids: IO[bytes], dtype: npt.DTypeLike, offset: int
    ) -> None:
        """Read rows from `ledger`, and from `ids`, after `offset` bytes, ids of type `dtype`."""
        self.tokens: list[str] = []  # by id
        self.rows: dict[str, int] = {}  # path -> number of its last row
        # One element per row:
        self.sizes, self.mtimes = array("q"), array("q")  # bytes, ns
        self.starts, self.counts = array("q"), array("q")  # of the row's ids
        self.digest_prefixes = array("q")
        self.statuses = array("b")  # USED, ...
        self._line_offsets = array("q")  # bytes
        self._line_crcs = array("I")
        self._crcs = array("I")  # of the ids
        self.total = 0  # ids of all rows
        self._ledger, self._ids = ledger, ids
        self._dtype, self._offset = np.dtype(dtype), offset

    @classmethod
    def none(cls) -> Self:
        """No files."""
        return cls(io.BytesIO(), io.BytesIO(), np.uint16, 0)

    @classmethod
    def of_corpus(cls, corpus: Corpus) -> "ParsedFiles":
        """The files of a corpus. Raises CorpusError when its ledger is damaged."""
        return _CorpusFiles(corpus)

    def __len__(self) -> int:
        return len(self.sizes)

    def add(self, row: LedgerRow, line: bytes, offset: int) -> None:
        """Add a row whose line begins at a byte offset; its ids follow those of the last row."""
        self.rows[row.path] = len(self)
        self.sizes.append(row.size)
        self.mtimes.append(row.mtime_ns)
        self.starts.append(self.total)
        self.counts.append(row.tokens)
        self.digest_prefixes.append(digest_prefix(row))
        self.statuses.append(_STATUSES[row.status])
        self._line_offsets.append(offset)
        self._line_crcs.append(zlib.crc32(line))
        self.total += row.tokens

    def line(self, number: int) -> bytes:
        """A row as its line in the ledger. Raises ChangedFileError."""
        return self._line(number)

    def row(self, number: int) -> LedgerRow:
        """A row. Raises ChangedFileError."""
        return LedgerRow.of_line(self._line(number))

    def crcs(self) -> Sequence[int]:
        """Checksums of the ids of each row, for `read_songs`."""
        return self._crcs

    def read_song(self, number: int) -> Ids:
        """The ids of one row, checked. Raises ChangedFileError."""
        return self.read_songs(self.starts[number], [self.counts[number]], [self.crcs()[number]])

    def read_songs(self, start: int, counts: Sequence[int], crcs: Sequence[int]) -> Ids:
        """The ids of adjacent rows, checked against their checksums. Raises ChangedFileError."""
        ids = self._read_ids(start, sum(counts))
        first = 0
        for count, crc in zip(counts, crcs, strict=True):
            if zlib.crc32(ids[first : first + count].data) != crc:
                raise ChangedFileError(self._ids.name, "its checksums don't match")
            first += count
        return ids

    def _line(self, number: int) -> bytes:
        try:
            self._ledger.seek(self._line_offsets[number])
            line = self._ledger.readline()
        except OSError as error:
            raise ChangedFileError(self._ledger.name, reason_of(error)) from error
        if zlib.crc32(line) != self._line_crcs[number]:
            raise ChangedFileError(self._ledger.name, "its checksums don't match")
        return line

    def _read_ids(self, start: int, count: int) -> Ids:
        """Read ids without a check."""
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
            with contextlib.suppress(OSError):  # a full disk, reported when it was written
                file.close()


class _CorpusFiles(ParsedFiles):
    """The files of a corpus that was opened with `Corpus.open_checked`."""

    def __init__(self, corpus: Corpus) -> None:
        tokens = corpus.tokens
        assert isinstance(tokens, np.memmap)
        ledger, ids = (
            read_verified(
                corpus.path / name, open_to_read, partial(DamagedCorpusError, corpus.path)
            )
            for name in ("ledger.jsonl", "tokens.npy")
        )
        super().__init__(ledger, ids, tokens.dtype, tokens.offset)
        self.tokens = list(corpus.vocabulary.tokens)
        metadata = read_metadata(corpus.path)
        self._digests = metadata.digests if metadata is not None else {}
        self._digest = corpus.digest
        offset = 0
        try:
            for line in iter_lines(self._ledger):
                self.add(LedgerRow.of_line(line), line, offset)
                offset += len(line)
        except (ValueError, OverflowError) as error:
            raise DamagedCorpusError(corpus.path, f"ledger.jsonl: {error}") from error
        if self.total != len(tokens):
            raise DamagedCorpusError(
                corpus.path,
                f"ledger.jsonl counts {self.total:,} tokens, but tokens.npy has {len(tokens):,}",
            )
        try:
            self._share_tokens()
        except ValueError as error:
            raise DamagedCorpusError(corpus.path, f"ledger.jsonl: {error}") from error

    def line(self, number: int) -> bytes:
        """A row as its line in the ledger of a corpus that keeps duplicates."""
        is_duplicate = self.statuses[number] == DUPLICATE
        return self.row(number).line() if is_duplicate else self._line(number)

    def row(self, number: int) -> LedgerRow:
        """A row; a duplicate as a used file."""
        row = super().row(number)
        if self.statuses[number] == DUPLICATE:
            return dataclasses.replace(row, tokens=self.counts[number], status="used", reason="")
        return row

    def crcs(self) -> Sequence[int]:
        """Checksums of the ids of each row.

        Computed by the first call, in the same pass that compares the file with its digest.
        Raises ChangedFileError.
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
        """Read the whole file once: the checksums of all rows, and the file's digest."""
        self._ids.seek(0)
        digest = hashlib.blake2b(self._ids.read(self._offset), digest_size=16)
        crcs = np.zeros(len(self), np.uint32)
        own = np.flatnonzero(np.array(self.statuses) != DUPLICATE)
        counts = np.array(self.counts)[own]
        ends = np.cumsum(counts)
        first = 0
        while first < len(own):
            # As many rows as fit into a chunk, and at least one.
            start = ends[first] - counts[first]
            stop = max(int(np.searchsorted(ends, start + _READ_CHUNK, "right")), first + 1)
            ids = self._read_ids(int(start), int(ends[stop - 1] - start))
            digest.update(ids.data)
            begin = 0
            rows = zip(own[first:stop].tolist(), counts[first:stop].tolist(), strict=True)
            for number, count in rows:
                crcs[number] = zlib.crc32(ids[begin : begin + count].data)
                begin += count
            first = stop
        duplicates = np.flatnonzero(np.array(self.statuses) == DUPLICATE)
        crcs[duplicates] = crcs[self._originals]
        return crcs, digest.hexdigest()

    def _share_tokens(self) -> None:
        """Give duplicates the tokens of their originals. Raises ValueError without an original."""
        statuses, prefixes = np.array(self.statuses), np.array(self.digest_prefixes)
        duplicates = np.flatnonzero(statuses == DUPLICATE)
        candidates = np.flatnonzero((statuses == USED) & np.isin(prefixes, prefixes[duplicates]))
        by_digest = {self.row(number).digest: number for number in candidates.tolist()}
        self._originals: list[int] = []  # row numbers, one per duplicate
        for number in duplicates.tolist():
            row = self.row(number)
            if row.digest not in by_digest:
                raise ValueError(f"no file has the same bytes as {row.path}")
            original = by_digest[row.digest]
            self.starts[number], self.counts[number] = self.starts[original], self.counts[original]
            self._originals.append(original)
