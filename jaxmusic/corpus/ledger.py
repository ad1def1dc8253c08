"""The ledger of a corpus: one row, a line of JSON, for each input file."""

import json
from dataclasses import dataclass, field
from typing import Literal

from jaxmusic.storage.reading import Count, Int64, parse_json

Status = Literal["used", "empty", "skipped", "duplicate"]


@dataclass(frozen=True)
class LedgerRow:
    """The outcome of one input file."""

    path: str  # relative to the folder, with /
    size: Count  # bytes
    digest: str  # of the file's bytes
    tokens: Count
    status: Status
    reason: str = ""  # why it was skipped, or which file it duplicates
    mtime_ns: Int64 = 0  # time of the last change; 0: read the file again next time
    notes: dict[str, Count] = field(default_factory=dict)  # by `Tokenizer.encode_counted`

    @classmethod
    def of_line(cls, line: bytes | str) -> "LedgerRow":
        """Parse a line of a ledger. Raises ValueError with the reason."""
        row = parse_json(line, cls)
        row.path.encode("utf-8", "surrogateescape")  # ValueError: no system has such a path
        return row

    def line(self) -> bytes:
        """The row as a line of a ledger."""
        fields = {name: value for name, value in vars(self).items() if name != "notes" or value}
        return json.dumps(fields).encode() + b"\n"
