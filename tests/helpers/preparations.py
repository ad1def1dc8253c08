"""What a preparation made, and what it took: for the tests of preparing."""

import os
from pathlib import Path

import pytest

from jaxmusic.corpus.corpus import Corpus
from jaxmusic.preparation import parsing
from jaxmusic.tokenizers.tokenizer import parse_counted


def files_of(corpus: Corpus) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.path.iterdir()}


def tree_of(folder: Path, *, but: str = "") -> dict[str, bytes | str | None]:
    """All that is in a folder, byte by byte; links by where they lead."""
    return {
        path.relative_to(folder).as_posix(): (
            os.readlink(path)
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else None
        )
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[0] != but
    }


class Parsed:
    """Counts what is parsed; `stop_at` stops all, as Ctrl-C does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> None:
        self.count = 0
        self.stop_at = stop_at
        monkeypatch.setattr(parsing, "parse_counted", self)

    def __call__(self, data: bytes, scheme: str) -> tuple[list[str], dict[str, int]]:
        if self.count == self.stop_at:
            raise KeyboardInterrupt
        self.count += 1
        return parse_counted(data, scheme)
