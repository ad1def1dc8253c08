"""The journal of a preparation: all files parsed so far, on disk.

Two append-only files, each batch with its own checksum: a kill at any moment loses the batch being
written at most, and a damaged byte ends what is recovered. SQLite (tried: the same tests on one
sqlite3 file) has no checksums, doesn't notice changes by another process, relies on locks that NFS
may not have, and took twice the time, for 50 lines less.
"""

import contextlib
import itertools
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.corpus.metadata import Source
from jaxmusic.corpus.parsed_files import ParsedFiles, digest_prefix
from jaxmusic.storage.atomic import writing
from jaxmusic.storage.reading import LINE, Count, open_to_read, parse_json

_FORMAT = 2


class JournalHeader(msgspec.Struct, frozen=True):
    """The first line of a journal."""

    journal: int  # the format
    made_of: Source
    scheme: str
    tokeniser: int  # version


class Journal(ParsedFiles):
    """Parsed files that grow in number, each on disk as soon as it is added.

    `journal.jsonl` has the header, then for each batch of files a line (new tokens, number of rows
    and of ids, checksums of the ids), the rows, and a line with the checksum of those before.
    `stream.u32` has the ids. One process writes to a journal. Another process's journal is
    recovered by copying it, batch by batch.
    """

    def __init__(self, folder: Path, made_of: Source, scheme: str, tokenizer_version: int) -> None:
        """Begin a journal in an empty folder. Raises WriteError."""
        ledger, ids = _journal_files(folder)
        with writing(ledger):
            super().__init__(ledger.open("x+b"), ids.open("x+b"), np.uint32, 0)
        self._ids_by_token: dict[str, int] = {}
        self._header = _line_of(JournalHeader(_FORMAT, made_of, scheme, tokenizer_version))
        with writing(ledger):
            self._ledger.write(self._header)
            self._ledger.flush()

    def recover(self, folder: Path) -> None:
        """Copy the whole batches of another journal, without the files that this one has.

        Copies nothing from a journal with another header. Raises WriteError.
        """
        table = np.empty(0, np.uint32)  # this journal's ids by the other's
        for batch in _batches(folder, self._header):
            table = np.concatenate([table, self.ids_of(batch.tokens)])
            ends = np.cumsum([row.tokens for row in batch.rows])
            songs = np.split(table[batch.ids], ends[:-1])
            new = [number for number, row in enumerate(batch.rows) if not self._has(row)]
            if new:
                rows = [batch.rows[number] for number in new]
                self.append(rows, np.concatenate([songs[number] for number in new]))

    def _has(self, row: LedgerRow) -> bool:
        number = self.rows.get(row.path)
        return number is not None and (
            (self.sizes[number], self.mtimes[number], self.digest_prefixes[number])
            == (row.size, row.mtime_ns, digest_prefix(row))
        )

    def ids_of(self, tokens: Sequence[str]) -> npt.NDArray[np.uint32]:
        """The ids of tokens; a new token gets the next id."""
        for token in tokens:
            if token not in self._ids_by_token:
                self._ids_by_token[token] = len(self._ids_by_token)
        return np.array([self._ids_by_token[token] for token in tokens], np.uint32)

    def append(self, rows: Sequence[LedgerRow], ids: npt.NDArray[np.uint32]) -> None:
        """Write a batch of rows and the ids of all of them, end to end. Raises WriteError."""
        tokens = list(itertools.islice(self._ids_by_token, len(self.tokens), None))
        ends = itertools.accumulate(row.tokens for row in rows)
        crcs = [
            zlib.crc32(ids[end - row.tokens : end].data)
            for row, end in zip(rows, ends, strict=True)
        ]
        first = _line_of(_BatchHeader(tokens, len(rows), len(ids), crcs))
        lines = [row.line() for row in rows]
        content = b"".join([first, *lines])
        with writing(self._ledger.name):
            self._ids.seek(0, os.SEEK_END)
            self._ids.write(ids.data)
            self._ids.flush()
            offset = self._ledger.seek(0, os.SEEK_END) + len(first)
            self._ledger.write(content + _end_of(content))
            self._ledger.flush()
        for row, line in zip(rows, lines, strict=True):
            self.add(row, line, offset)
            offset += len(line)
        self._crcs.extend(crcs)
        self.tokens.extend(tokens)


class _BatchHeader(msgspec.Struct, frozen=True):
    """The line before the rows of a batch."""

    words: list[str]  # new tokens
    rows: Count
    tokens: Count  # ids
    crcs: list[Count]  # of the ids of each row


def _line_of(header: msgspec.Struct) -> bytes:
    return json.dumps(msgspec.structs.asdict(header)).encode() + b"\n"


class _Batch(NamedTuple):
    tokens: list[str]  # new ones
    rows: list[LedgerRow]
    ids: npt.NDArray[np.uint32]


def _journal_files(folder: Path) -> tuple[Path, Path]:
    return folder / "journal.jsonl", folder / "stream.u32"


def _end_of(content: bytes) -> bytes:
    """The last line of a batch."""
    return b'{"crc": %d}\n' % zlib.crc32(content)


def _batches(folder: Path, header: bytes) -> Iterator[_Batch]:
    """The batches of a journal, up to the first that is damaged; none under another header."""
    with contextlib.ExitStack() as stack:
        try:
            ledger, ids = (
                stack.enter_context(open_to_read(path)) for path in _journal_files(folder)
            )
            if ledger.readline(LINE) != header:
                return
            while (batch := _read_batch(ledger, ids)) is not None:
                yield batch
        except (OSError, ValueError):  # its owner lives after all, and removed it
            return


def _read_batch(ledger: IO[bytes], ids: IO[bytes]) -> _Batch | None:
    """The next batch; None when it is damaged or cut off."""
    first = ledger.readline()
    try:
        header = parse_json(first, _BatchHeader)
        lines = list(itertools.islice(ledger, header.rows))
        if ledger.readline(LINE) != _end_of(b"".join([first, *lines])):
            return None
        rows = [LedgerRow.of_line(line) for line in lines]
    except ValueError:
        return None
    if 4 * header.tokens > os.fstat(ids.fileno()).st_size - ids.tell():
        return None
    found = np.fromfile(ids, np.uint32, header.tokens)
    start = 0
    for row, crc in zip(rows, header.crcs, strict=True):
        if zlib.crc32(found[start : start + row.tokens].data) != crc:
            return None
        start += row.tokens
    return _Batch(header.words, rows, found) if start == len(found) else None
