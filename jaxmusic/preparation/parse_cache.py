"""Which files of a folder must be parsed, and which were parsed before."""

import dataclasses
import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.corpus.parsed_files import SKIPPED, ParsedFiles
from jaxmusic.corpus.writer import FileSequence
from jaxmusic.preparation.journal import Journal
from jaxmusic.preparation.parsing import (
    NOT_REGULAR,
    Batch,
    FileResult,
    Job,
    UnreadableError,
    timestamp,
    why_unreadable,
)
from jaxmusic.preparation.scan import Found

_CORPUS, _JOURNAL, _UNKNOWN = 0, 1, -1  # the store of a file's row
_OLD_CORPUS = -1  # numbers ids like a reader; readers count from 0


class ParseCache(FileSequence):
    """The files of a folder, with what the old corpus and the journal know of them.

    A file is unchanged when its size and its time of change are the known ones. All other files
    are to be parsed: `jobs` lists them, and `add` writes their results to the journal. This object
    holds all of a preparation's memory that grows with the number of files.
    """

    def __init__(
        self, folder: Path, found: Found, old: ParsedFiles, journal: Journal, *, verify: bool
    ) -> None:
        """Look up each file. `verify` has the files of the old corpus read again too."""
        self.folder, self.paths = folder, found.paths
        paths = self.paths
        super().__init__(
            (old, journal), np.full(len(paths), _UNKNOWN, np.int8), np.zeros(len(paths), np.int64)
        )
        self.to_parse, self._sizes = array("q"), array("q")  # indices in `paths`; bytes
        self._journal = journal
        # Per reader (and the old corpus): the journal's ids by the reader's.
        self._id_tables: dict[int, npt.NDArray[np.uint32]] = {}

        unreadable: list[tuple[int, LedgerRow]] = []
        for index, path in enumerate(paths):
            try:
                if path in found.closed:
                    raise UnreadableError(found.closed[path])
                status = _stat(folder, path)
            except UnreadableError as error:
                unreadable.append((index, LedgerRow(path, 0, "", 0, "skipped", str(error))))
                continue
            number, row = self._find(path)
            store = self.stores[number]
            if (
                number != _UNKNOWN
                and not (verify and number == _CORPUS)
                and store.mtimes[row] == timestamp(status)
                and store.sizes[row] == status.st_size
            ):
                self.store_of[index], self.rows[index] = number, row
            else:
                self.to_parse.append(index)
                self._sizes.append(status.st_size)
        if unreadable:
            indices, rows = zip(*unreadable, strict=True)
            self._append(indices, rows, np.empty(0, np.uint32))

    @property
    def size_to_parse(self) -> int:
        """Bytes of the files to parse."""
        return sum(self._sizes)

    def jobs(self) -> Iterator[Job]:
        """The files to parse."""
        for index, size in zip(self.to_parse, self._sizes, strict=True):
            path = self.paths[index]
            number, row = self._find(path)
            digest = "" if number == _UNKNOWN else self.stores[number].row(row).digest
            yield Job(index, path, size, digest)

    def add(self, batch: Batch) -> None:
        """Write the results of parsed files to the journal. Raises WriteError."""
        table = self._id_table(batch.reader, batch.new_tokens)
        rows: list[LedgerRow] = []
        ids: list[npt.NDArray[np.uint32]] = []
        start = 0
        for job, result in zip(batch.jobs, batch.results, strict=True):
            if result.unchanged:
                number, row_number = self._find(job.path)
                store = self.stores[number]
                row = store.row(row_number)
                rows.append(dataclasses.replace(row, size=result.size, mtime_ns=result.mtime_ns))
                song = store.read_song(row_number)
                if number == _CORPUS:
                    new = () if _OLD_CORPUS in self._id_tables else store.tokens
                    song = self._id_table(_OLD_CORPUS, new)[song]
                ids.append(song.astype(np.uint32, copy=False))
            else:
                rows.append(_row_of(job.path, result))
                ids.append(table[batch.ids[start : start + result.tokens]])
                start += result.tokens
        self._append([job.number for job in batch.jobs], rows, np.concatenate(ids))

    @property
    def skipped(self) -> int:
        """Number of files skipped."""
        return int((self.column(lambda store: store.statuses) == SKIPPED).sum())

    def has_tokens(self) -> bool:
        """Whether any file gives tokens."""
        return bool(self.column(lambda store: store.counts).any())

    def equals_old_corpus(self) -> bool:
        """Whether the old corpus has the same rows for the same files."""
        old, journal = self.stores
        return len(old) == len(self.paths) and all(
            self.paths[index] in old.rows
            and old.line(old.rows[self.paths[index]]) == journal.line(int(self.rows[index]))
            for index in np.flatnonzero(self.store_of == _JOURNAL).tolist()
        )

    def _find(self, path: str) -> tuple[int, int]:
        """Store number and row number of a file's last row."""
        for number in (_JOURNAL, _CORPUS):
            row = self.stores[number].rows.get(path)
            if row is not None:
                return number, row
        return _UNKNOWN, 0

    def _id_table(self, reader: int, new_tokens: Sequence[str]) -> npt.NDArray[np.uint32]:
        """The journal's ids by those of a reader, whose new tokens are added first."""
        table = self._id_tables.get(reader, np.empty(0, np.uint32))
        if new_tokens:
            table = np.concatenate([table, self._journal.ids_of(new_tokens)])
            self._id_tables[reader] = table
        return table

    def _append(
        self, indices: Sequence[int], rows: Sequence[LedgerRow], ids: npt.NDArray[np.uint32]
    ) -> None:
        first = len(self._journal)
        self._journal.append(rows, ids)
        self.store_of[list(indices)] = _JOURNAL
        self.rows[list(indices)] = np.arange(first, first + len(rows))


def _row_of(path: str, result: FileResult) -> LedgerRow:
    return LedgerRow(
        path,
        result.size,
        result.digest,
        result.tokens,
        "skipped" if result.reason else "used" if result.tokens else "empty",
        result.reason,
        result.mtime_ns,
        result.notes or {},
    )


def _stat(folder: Path, path: str) -> os.stat_result:
    """The status of a file, or of a link's target inside the folder; else UnreadableError."""
    full = os.path.join(folder, path)
    try:
        status = os.lstat(full)
        if stat.S_ISLNK(status.st_mode):
            if not Path(os.path.realpath(full)).is_relative_to(os.path.realpath(folder)):
                raise UnreadableError("it is a link out of the folder")
            status = os.stat(full)
    except OSError as error:
        raise UnreadableError(why_unreadable(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError(NOT_REGULAR)
    return status
