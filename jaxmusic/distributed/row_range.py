"""The rows of each batch that one process has."""

from typing import NamedTuple


class RowRange(NamedTuple):
    """A process's rows of each batch: `start` to below `stop` of `total`."""

    total: int
    start: int
    stop: int

    @classmethod
    def all(cls, total: int) -> "RowRange":
        """All rows, for a single process."""
        return cls(total, 0, total)
