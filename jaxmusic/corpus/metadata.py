"""The file corpus.json of a corpus, and how it differs from that of a run."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from jaxmusic.storage.reading import Count, convert_json, read_json, with_digest

Source = Literal["midi", "notes", "piano_rolls"]

MAX_METADATA_BYTES = 16 << 20  # bytes of a corpus.json
OWN_DIGEST = "about"  # the field with the digest of all others ("digest" is that of the corpus)


class Duplicates(msgspec.Struct, frozen=True):
    """Files with the same bytes as another one."""

    files: Count = 0
    left_out: bool | None = None  # False: they are used too
    first: list[tuple[str, str]] = []  # path, path of the original


class CorpusMetadata(msgspec.Struct, frozen=True):
    """The corpus.json of a corpus."""

    format: int
    scheme: str
    tokeniser: Count  # version
    files: Count
    songs: Count
    tokens: Count
    distinct: Count
    digests: dict[str, str]  # of the files that training reads
    ledger: str  # digest of the ledger
    digest: str  # of those digests
    made_of: Source = "midi"
    duplicates: Duplicates = Duplicates()


class MetadataHeader(msgspec.Struct, frozen=True):
    """The fields that identify the kind and the version of a corpus.json."""

    format: int | None = None
    tokeniser: int | None = None
    path: str | None = None
    digest: str | None = None

    @property
    def is_of_run(self) -> bool:
        """Whether it is that of a run: it names the run's corpus."""
        return self.format is None and self.path is not None and self.digest is not None

    @property
    def is_of_corpus(self) -> bool:
        """Whether it is that of a corpus, of any version."""
        return self.tokeniser is not None


def load_metadata(path: Path) -> CorpusMetadata:
    """Read the corpus.json of a corpus. Raises OSError, and ValueError with the reason."""
    document = read_json(path, dict[str, Any], most=MAX_METADATA_BYTES)
    metadata = convert_json(document, CorpusMetadata)
    if document != with_digest(document, OWN_DIGEST):
        raise ValueError("corpus.json is not what was written")
    return metadata


def read_metadata_header(path: Path) -> MetadataHeader:
    """The kind and version of a corpus.json; neither if it is missing or damaged."""
    try:
        return read_json(path, MetadataHeader, most=MAX_METADATA_BYTES)
    except (OSError, ValueError):
        return MetadataHeader()
