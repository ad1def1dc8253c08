"""The journal of a preparation: what was parsed so far, on disk."""

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

from jaxmusic.corpus.corpus import LedgerRow
from jaxmusic.corpus.corpus_file import Source
from jaxmusic.preparation.records import Records, line_of, mark_of
from jaxmusic.storage.atomic import writing
from jaxmusic.storage.reading import LINE, Count, open_stored, parse_json

_FORMAT = 2


class JournalHeader(msgspec.Struct, frozen=True):
    """The first line of a journal."""

    journal: int  # its format
    made_of: Source
    scheme: str
    tokeniser: int


class Journal(Records):
    """Records that grow: what is parsed is on disk at once, and a stop loses none of it.

    `journal.jsonl` has a line that names what is parsed and how, then for each batch of files a
    line (words that are new, number of rows and of tokens, checksums of the ids), its rows, and a
    line with the checksum of those before; `stream.u32` has the ids. One process alone writes to
    it. What is left of another's is taken over by copying it, batch by batch.
    """

    def __init__(self, folder: Path, made_of: Source, scheme: str, tokeniser: int) -> None:
        """Begin a journal in an empty folder. Raises WriteError."""
        ledger, ids = _journal_files(folder)
        with writing(ledger):
            super().__init__(ledger.open("x+b"), ids.open("x+b"), np.uint32, 0)
        self._numbers: dict[str, int] = {}
        self._header = _line_of(JournalHeader(_FORMAT, made_of, scheme, tokeniser))
        with writing(ledger):
            self._ledger.write(self._header)
            self._ledger.flush()

    def adopt(self, folder: Path) -> None:
        """Take over what another journal holds, of which the last batch may be cut off.

        Nothing, where it was made of other things or in another way. What it holds of files that
        this one knows already is left out. Raises WriteError.
        """
        table = np.empty(0, np.uint32)  # this one's ids by those of the other
        for batch in _batches(folder, self._header):
            table = np.concatenate([table, self.numbers_of(batch.words)])
            ends = np.cumsum([row.tokens for row in batch.rows])
            songs = np.split(table[batch.ids], ends[:-1])
            new = [number for number, row in enumerate(batch.rows) if not self._knows(row)]
            if new:
                rows = [batch.rows[number] for number in new]
                self.append(rows, np.concatenate([songs[number] for number in new]))

    def _knows(self, row: LedgerRow) -> bool:
        known = self.rows.get(row.path)
        return known is not None and (
            (self.sizes[known], self.stamps[known], self.marks[known])
            == (row.size, row.mtime_ns, mark_of(row))
        )

    def numbers_of(self, words: Sequence[str]) -> npt.NDArray[np.uint32]:
        """The ids of words; those that are new get theirs."""
        for word in words:
            if word not in self._numbers:
                self._numbers[word] = len(self._numbers)
        return np.array([self._numbers[word] for word in words], np.uint32)

    def append(self, rows: Sequence[LedgerRow], ids: npt.NDArray[np.uint32]) -> None:
        """Write rows and, before them, the ids of their tokens, end to end. Raises WriteError."""
        words = list(itertools.islice(self._numbers, len(self.words), None))
        ends = itertools.accumulate(row.tokens for row in rows)
        crcs = [
            zlib.crc32(ids[end - row.tokens : end].data)
            for row, end in zip(rows, ends, strict=True)
        ]
        first = _line_of(_BatchHeader(words, len(rows), len(ids), crcs))
        lines = [line_of(row) for row in rows]
        content = b"".join([first, *lines])
        with writing(self._ledger.name):
            self._ids.seek(0, os.SEEK_END)
            self._ids.write(ids.data)
            self._ids.flush()
            position = self._ledger.seek(0, os.SEEK_END) + len(first)
            self._ledger.write(content + _end_of(content))
            self._ledger.flush()
        for row, line in zip(rows, lines, strict=True):
            self.add(row, line, position)
            position += len(line)
        self._crcs.extend(crcs)
        self.words.extend(words)


class _BatchHeader(msgspec.Struct, frozen=True):
    """The line before the rows of a batch of files."""

    words: list[str]  # that are new
    rows: Count
    tokens: Count
    crcs: list[Count]  # of the ids of each row


def _line_of(header: msgspec.Struct) -> bytes:
    return json.dumps(msgspec.structs.asdict(header)).encode() + b"\n"


class _Batch(NamedTuple):
    words: list[str]
    rows: list[LedgerRow]
    ids: npt.NDArray[np.uint32]


def _journal_files(folder: Path) -> tuple[Path, Path]:
    return folder / "journal.jsonl", folder / "stream.u32"


def _end_of(content: bytes) -> bytes:
    """The line that ends a batch."""
    return b'{"crc": %d}\n' % zlib.crc32(content)


def _batches(folder: Path, header: bytes) -> Iterator[_Batch]:
    """The batches of a journal as long as they are whole; none, if it has another header."""
    with contextlib.ExitStack() as stack:
        try:
            ledger, ids = (
                stack.enter_context(open_stored(path)) for path in _journal_files(folder)
            )
            if ledger.readline(LINE) != header:
                return
            while (batch := _read_batch(ledger, ids)) is not None:
                yield batch
        except (OSError, ValueError):  # its owner was at work after all, and removed it
            return


def _read_batch(ledger: IO[bytes], ids: IO[bytes]) -> _Batch | None:
    """The next batch; None when it isn't whole."""
    first = ledger.readline()
    try:
        about = parse_json(first, _BatchHeader)
        lines = list(itertools.islice(ledger, about.rows))
        if ledger.readline(LINE) != _end_of(b"".join([first, *lines])):
            return None
        rows = [LedgerRow.of_line(line) for line in lines]
    except ValueError:
        return None
    if 4 * about.tokens > os.fstat(ids.fileno()).st_size - ids.tell():
        return None
    tokens = np.fromfile(ids, np.uint32, about.tokens)
    start = 0
    for row, crc in zip(rows, about.crcs, strict=True):
        if zlib.crc32(tokens[start : start + row.tokens].data) != crc:
            return None
        start += row.tokens
    return _Batch(about.words, rows, tokens) if start == len(tokens) else None
