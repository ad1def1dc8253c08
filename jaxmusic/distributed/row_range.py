"""The rows of each batch that one process has."""

from typing import NamedTuple


class Share(NamedTuple):
    """The rows of each batch that are this process's: from `start` to below `stop` of `rows`."""

    rows: int
    start: int
    stop: int

    @classmethod
    def all(cls, rows: int) -> "Share":
        """Those of a process by itself."""
        return cls(rows, 0, rows)
