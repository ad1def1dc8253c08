"""Which files there are to prepare, and what is known of each."""

import dataclasses
import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.corpus import LedgerRow
from jaxmusic.preparation.journal import Journal
from jaxmusic.preparation.parsing import NO_FILE, Batch, FileResult, Job, stamp_of, unreadable
from jaxmusic.preparation.records import SKIPPED, Records
from jaxmusic.preparation.scan import Found
from jaxmusic.preparation.stream import Stream

_CORPUS, _JOURNAL, _UNKNOWN = 0, 1, -1  # where the row of a file is
_OLD_CORPUS = -1  # as one who numbers ids, beside the readers, who count from 0


class Survey(Stream):
    """The files of a preparation: all of it that grows with their number, a few words of each.

    What is known of them is in the records of the corpus that there was, or in the journal.
    `to_parse` are the places of those in neither.
    """

    def __init__(
        self, folder: Path, found: Found, old: Records, journal: Journal, *, verify: bool
    ) -> None:
        self.folder, self.paths = folder, found.paths
        paths = self.paths
        super().__init__(
            (old, journal), np.full(len(paths), _UNKNOWN, np.int8), np.zeros(len(paths), np.int64)
        )
        self.to_parse, self._sizes = array("q"), array("q")  # places; bytes
        self._journal = journal
        # What the journal makes of the ids of each reader, and of the corpus.
        self._tables: dict[int, npt.NDArray[np.uint32]] = {}

        unreadable: list[tuple[int, LedgerRow]] = []
        for place, path in enumerate(paths):
            try:
                if path in found.closed:
                    raise _UnreadableError(found.closed[path])
                status = _look(folder, path)
            except _UnreadableError as error:
                unreadable.append((place, LedgerRow(path, 0, "", 0, "skipped", str(error))))
                continue
            which, row = self._find(path)
            known = self.records[which]
            if (
                which != _UNKNOWN
                and not (verify and which == _CORPUS)
                and known.stamps[row] == stamp_of(status)
                and known.sizes[row] == status.st_size
            ):
                self.which[place], self.rows[place] = which, row
            else:
                self.to_parse.append(place)
                self._sizes.append(status.st_size)
        if unreadable:
            places, rows = zip(*unreadable, strict=True)
            self._write(places, rows, np.empty(0, np.uint32))

    @property
    def size_to_parse(self) -> int:
        """Bytes of the files to parse."""
        return sum(self._sizes)

    def jobs(self) -> Iterator[Job]:
        """The files to parse."""
        for place, size in zip(self.to_parse, self._sizes, strict=True):
            path = self.paths[place]
            which, row = self._find(path)
            known = "" if which == _UNKNOWN else self.records[which].row(row).digest
            yield Job(place, path, size, known)

    def take(self, batch: Batch) -> None:
        """Write what became of some files to the journal."""
        table = self._table(batch.reader, batch.words)
        rows: list[LedgerRow] = []
        ids: list[npt.NDArray[np.uint32]] = []
        position = 0
        for job, file in zip(batch.jobs, batch.files, strict=True):
            if file.unchanged:
                which, number = self._find(job.path)
                known = self.records[which]
                row = known.row(number)
                row = dataclasses.replace(row, size=file.size, mtime_ns=file.mtime_ns)
                rows.append(row)
                found = known.read_song(number)
                if which == _CORPUS:
                    new = () if _OLD_CORPUS in self._tables else known.words
                    found = self._table(_OLD_CORPUS, new)[found]
                ids.append(found.astype(np.uint32, copy=False))
            else:
                rows.append(_row(job.path, file))
                ids.append(table[batch.ids[position : position + file.tokens]])
                position += file.tokens
        self._write([job.place for job in batch.jobs], rows, np.concatenate(ids))

    @property
    def skipped(self) -> int:
        """How many files were skipped."""
        return int((self.column(lambda each: each.kinds) == SKIPPED).sum())

    def has_tokens(self) -> bool:
        """Whether any file gives tokens."""
        return bool(self.column(lambda each: each.counts).any())

    def is_old(self) -> bool:
        """Whether the corpus that there was tells the very same of the very same files."""
        old, journal = self.records
        return len(old) == len(self.paths) and all(
            self.paths[place] in old.rows
            and old.line(old.rows[self.paths[place]]) == journal.line(int(self.rows[place]))
            for place in np.flatnonzero(self.which == _JOURNAL).tolist()
        )

    def _find(self, path: str) -> tuple[int, int]:
        """Where the last row of a file is."""
        for which in (_JOURNAL, _CORPUS):
            row = self.records[which].rows.get(path)
            if row is not None:
                return which, row
        return _UNKNOWN, 0

    def _table(self, reader: int, words: Sequence[str]) -> npt.NDArray[np.uint32]:
        """The journal's ids by those of a reader, who tells more of his words."""
        table = self._tables.get(reader, np.empty(0, np.uint32))
        if words:
            table = np.concatenate([table, self._journal.numbers_of(words)])
            self._tables[reader] = table
        return table

    def _write(
        self, places: Sequence[int], rows: Sequence[LedgerRow], ids: npt.NDArray[np.uint32]
    ) -> None:
        first = len(self._journal)
        self._journal.append(rows, ids)
        self.which[list(places)] = _JOURNAL
        self.rows[list(places)] = np.arange(first, first + len(rows))


def _row(path: str, file: FileResult) -> LedgerRow:
    return LedgerRow(
        path,
        file.size,
        file.digest,
        file.tokens,
        "skipped" if file.reason else "used" if file.tokens else "empty",
        file.reason,
        file.mtime_ns,
    )


class _UnreadableError(Exception):
    """Why a path is not even opened."""


def _look(folder: Path, path: str) -> os.stat_result:
    """What the system says of a file; raises _UnreadableError where it is none of ours."""
    full = os.path.join(folder, path)
    try:
        status = os.lstat(full)
        if stat.S_ISLNK(status.st_mode):
            if not Path(os.path.realpath(full)).is_relative_to(os.path.realpath(folder)):
                raise _UnreadableError("it is a link out of the folder")
            status = os.stat(full)
    except OSError as error:
        raise _UnreadableError(unreadable(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise _UnreadableError(NO_FILE)
    return status
