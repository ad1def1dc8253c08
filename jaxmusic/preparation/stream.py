"""Files in the order in which a corpus has them, and where what is known of each is found."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.corpus import LedgerRow
from jaxmusic.preparation.records import Records


class Stream:
    """File k, in the order of the stream, is row `rows[k]` of `records[which[k]]`.

    Memory holds these two numbers of a file, and what its records do.
    """

    def __init__(
        self,
        records: Sequence[Records],
        which: npt.NDArray[np.int8],
        rows: npt.NDArray[np.int64],
    ) -> None:
        self.records = records
        self.which = which
        self.rows = rows

    def row(self, place: int) -> LedgerRow:
        """The row of a file."""
        return self.records[int(self.which[place])].row(int(self.rows[place]))

    def ledger(self) -> Iterator[LedgerRow]:
        """The rows of all files."""
        for which, row in zip(self.which.tolist(), self.rows.tolist(), strict=True):
            yield self.records[which].row(row)

    def column(self, values: Callable[[Records], Sequence[int]]) -> npt.NDArray[np.int64]:
        """A number of each file, out of the same column of all records."""
        column = np.zeros(len(self.rows), np.int64)
        for which, each in enumerate(self.records):
            mine = self.which == which
            if not mine.any():
                continue
            column[mine] = np.asarray(values(each), np.int64)[self.rows[mine]]
        return column

    def originals(self) -> npt.NDArray[np.int64]:
        """The place of the first file that has the same bytes; mostly that is the file's own.

        Files that give no tokens are the same as none.
        """
        originals = np.arange(len(self.rows))
        used = np.flatnonzero(self.column(lambda each: each.counts))
        marks = self.column(lambda each: each.marks)[used]
        order = np.argsort(marks, kind="stable")
        used, marks = used[order], marks[order]
        alike = np.flatnonzero(marks[1:] == marks[:-1])
        firsts: dict[str, int] = {}  # by the whole digest, of those whose beginnings are the same
        for place in sorted({*used[alike].tolist(), *used[alike + 1].tolist()}):
            originals[place] = firsts.setdefault(self.row(place).digest, place)
        return originals
