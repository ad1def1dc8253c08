"""metrics.jsonl: a run's metrics by step."""

import contextlib
import errno
import os
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec

from jaxmusic.errors import UserError
from jaxmusic.storage.atomic import fsync, open_to_write, write_atomic, writing
from jaxmusic.storage.json_text import render_json
from jaxmusic.storage.reading import Count, parse_json, read_lines


class MetricsError(UserError):
    """A metrics.jsonl that can't be read."""


class _Row(msgspec.Struct, frozen=True):
    """The fields of a row that resuming needs."""

    step: Count
    skipped: bool = False
    epoch_loss: float | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def ends_epoch(self) -> bool:
        return self.epoch_loss is not msgspec.UNSET


class MetricsFile:
    """Appends JSON rows, each with the step after which it was measured.

    Resuming from a checkpoint first drops the rows after it; they will be written again.
    """

    def __init__(self, path: Path | None, *, from_step: int, epoch_pending: bool = False) -> None:
        """Open the file; without a path, write nothing.

        `epoch_pending`: the row of the epoch that ends with `from_step` is still to be written.

        Raises MetricsError when the file can't be read, WriteError when it can't be written.
        """
        rows: list[bytes] = []
        self.bad_steps = 0  # in the rows that stay
        self.damaged: list[int] = []  # numbers of lines that held no row and were dropped
        self._path = path
        self._file: FileIO | None = None
        if path is None:
            return
        if path.exists():
            for number, line in enumerate(_lines(path), 1):
                if not line.endswith(b"\n"):
                    continue  # cut off when the run was killed: after its last checkpoint
                try:
                    row = parse_json(line, _Row)
                except ValueError:
                    self.damaged.append(number)
                    continue
                pending = epoch_pending and row.step == from_step and row.ends_epoch
                if row.step <= from_step and not pending:
                    rows.append(line)
                    self.bad_steps += row.skipped
        write_atomic(path, b"".join(rows))
        with writing(path):
            self._file = open(path, "ab", buffering=0, opener=open_to_write)  # noqa: SIM115

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; when this returns, the system has it.

        Raises WriteError; the file then holds no part of the row.
        """
        if self._file is None or self._path is None:
            return
        content = render_json(row).encode() + b"\n"
        with writing(self._path):
            end = self._file.seek(0, os.SEEK_END)
            try:
                while content:  # a disk that gets full may first take a part
                    content = content[self._file.write(content) :]
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(end)
                raise

    def sync(self) -> None:
        """Flush all rows to the disk: a power cut later loses none of them.

        Raises WriteError, also when another file has taken the path.
        """
        if self._file is None or self._path is None:
            return
        with writing(self._path):
            fsync(self._file.fileno())
            if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                raise FileNotFoundError(errno.ENOENT, "it was replaced by another file")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _lines(path: Path) -> list[bytes]:
    try:
        return list(read_lines(path))
    except ValueError as error:
        raise MetricsError(
            f"{path} can't be continued: {error}. Move it away, and start the same command again: "
            "its rows begin anew."
        ) from error
