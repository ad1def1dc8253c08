"""The file corpus.json of a corpus, and how it is told from that of a run."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from jaxmusic.storage.reading import Count, convert_json, read_json, with_digest

Source = Literal["midi", "notes"]

LARGEST_ABOUT = 16 << 20  # bytes of a corpus.json
OWN_DIGEST = "about"  # the field with the digest of all others ("digest" is that of the corpus)


class Duplicates(msgspec.Struct, frozen=True):
    """What is known of files with the same bytes as another one."""

    files: Count = 0
    left_out: bool | None = None  # else they are used all the same
    first: list[tuple[str, str]] = []  # paths: of the file, and of the one that it is the same as


class CorpusAbout(msgspec.Struct, frozen=True):
    """The corpus.json of a corpus."""

    format: int
    scheme: str
    tokeniser: Count  # the version that made the tokens
    files: Count
    songs: Count
    tokens: Count
    distinct: Count
    digests: dict[str, str]  # of the files that training reads
    ledger: str  # digest of the ledger
    digest: str  # of those digests
    made_of: Source = "midi"
    duplicates: Duplicates = Duplicates()


class AboutHeader(msgspec.Struct, frozen=True):
    """What tells of which kind and of which version a corpus.json is."""

    format: int | None = None
    tokeniser: int | None = None
    path: str | None = None
    digest: str | None = None

    @property
    def is_of_run(self) -> bool:
        """Whether it is that of a run, which names the corpus it is of."""
        return self.format is None and self.path is not None and self.digest is not None

    @property
    def is_of_corpus(self) -> bool:
        """Whether it is that of a corpus, of any version."""
        return self.tokeniser is not None


def read_corpus_about(path: Path) -> CorpusAbout:
    """Read the corpus.json of a corpus. Raises OSError, and ValueError with the reason."""
    document = read_json(path, dict[str, Any], most=LARGEST_ABOUT)
    about = convert_json(document, CorpusAbout)
    if document != with_digest(document, OWN_DIGEST):
        raise ValueError("corpus.json is not what was written")
    return about


def read_header(path: Path) -> AboutHeader | None:
    """Of which kind and version a corpus.json is; None if it isn't there, or isn't one."""
    try:
        return read_json(path, AboutHeader, most=LARGEST_ABOUT)
    except (OSError, ValueError):
        return None
