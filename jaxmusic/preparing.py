"""From a folder of MIDI files to a corpus: parsed in parallel, never parsed twice."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from jaxmusic.corpus import FORMAT, Corpus, CorpusError, LedgerRow, read_about
from jaxmusic.parsing import FileResult, parse_files
from jaxmusic.tokens import Vocabulary

SUFFIXES = frozenset({".mid", ".midi", ".kar"})
# What tokens of one version of the tokeniser are worth to the next: raise it when a change
# alters any file's tokens, and every corpus is parsed anew.
TOKENISER = 1
COPY_CHUNK = 1 << 20  # tokens renumbered at a time

Progress = Callable[[int, int], None]  # (files done, files in all)


def prepare(
    midi_dir: str | os.PathLike[str],
    corpus_dir: str | os.PathLike[str],
    *,
    scheme: str = "classic",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Make (or bring up to date) the corpus of all MIDI files below a folder.

    Files that the corpus already holds with the same bytes are not parsed again. The new corpus
    takes the old one's place only when it is whole. `workers` processes parse (default: one a
    core; 1: this process alone); they import the caller's main module, so a script that calls
    this needs the usual `if __name__ == "__main__":`.

    Raises CorpusError when there is no MIDI file below the folder, or none that gives tokens.
    """
    folder, target = Path(midi_dir), Path(corpus_dir)
    paths = find_midi_files(folder)
    old = _OldCorpus(target, scheme)
    known = {row.path: row.digest for row in old.rows}
    results = parse_files(
        folder, paths, known, scheme=scheme, workers=workers or os.cpu_count() or 1
    )

    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        rows, lengths, seen = _write_stream(partial, results, old, progress, len(paths))
        if not lengths:
            raise CorpusError(_nothing_usable(folder, rows))
        if old.rows == rows:
            return Corpus.open(target)  # nothing has changed
        _finish(partial, rows, lengths, seen, scheme)
        _swap(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Corpus.open(target)


def find_midi_files(folder: Path) -> list[str]:
    """Relative paths (with /) of all .mid, .midi and .kar files below a folder, any case.

    In the order of the stream: by path in upper case, then by the path itself, the same on
    every machine. Linked folders are not entered.

    Raises CorpusError when the folder isn't there or holds no such file.
    """
    if not folder.is_dir():
        raise CorpusError(f"There is no folder {folder}: give a folder of MIDI files.")

    def refuse(error: OSError) -> None:
        raise CorpusError(f"The folder {error.filename} can't be read: {error.strerror}.")

    paths = [
        (Path(where) / name).relative_to(folder).as_posix()
        for where, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    ]
    if not paths:
        raise CorpusError(
            f"No MIDI files in {folder}: put .mid, .midi or .kar files there, or give another "
            "folder."
        )
    return sorted(paths, key=lambda path: (path.upper(), path))


def default_corpus_dir(midi_dir: str | os.PathLike[str], scheme: str) -> Path:
    """Where train.py keeps the corpus of a folder: found again by the folder's full path."""
    folder = Path(midi_dir).resolve()
    mark = hashlib.blake2b(os.fsencode(folder), digest_size=4).hexdigest()
    return Path("corpora") / f"{folder.name}-{scheme}-{mark}"


class _OldCorpus:
    """What a corpus already holds, to take unchanged songs from; nothing when there is none."""

    def __init__(self, folder: Path, scheme: str) -> None:
        self.rows: list[LedgerRow] = []
        self.corpus: Corpus | None = None
        if folder.exists() and any(folder.iterdir()) and not (folder / "corpus.json").exists():
            raise CorpusError(f"{folder} holds other things than a corpus: give another --corpus.")
        about = read_about(folder)
        if about is None or (about["scheme"], about["tokeniser"]) != (scheme, TOKENISER):
            return
        try:
            self.corpus = Corpus.open(folder)
            self.rows = self.corpus.ledger
        except CorpusError:
            self.corpus = None  # damaged: everything is parsed again
            return
        used = [row for row in self.rows if row.status == "used"]
        self._row = {row.path: row for row in self.rows}
        self._song = {row.path: number for number, row in enumerate(used)}

    def row(self, path: str) -> LedgerRow:
        return self._row[path]

    def tokens(self, path: str) -> list[str]:
        assert self.corpus is not None
        if path not in self._song:
            return []
        start, stop = self.corpus.offsets[self._song[path] :][:2]
        return self.corpus.vocabulary.decode(self.corpus.tokens[start:stop])


def _write_stream(
    partial: Path,
    results: Iterator[FileResult],
    old: _OldCorpus,
    progress: Progress | None,
    total: int,
) -> tuple[list[LedgerRow], list[int], dict[str, int]]:
    """Write ids as the files come, numbered by first appearance; memory holds no tokens."""
    rows: list[LedgerRow] = []
    lengths: list[int] = []
    seen: dict[str, int] = {}
    with (partial / "stream.u32").open("wb") as stream:
        for done, result in enumerate(results, 1):
            if result.unchanged:
                row, tokens = old.row(result.path), old.tokens(result.path)
            else:
                tokens = result.tokens
                status: Literal["used", "empty", "skipped"] = (
                    "skipped" if result.reason else "used" if tokens else "empty"
                )
                row = LedgerRow(
                    result.path, result.size, result.digest, len(tokens), status, result.reason
                )
            rows.append(row)
            if tokens:
                ids = [seen.setdefault(token, len(seen)) for token in tokens]
                np.array(ids, np.uint32).tofile(stream)
                lengths.append(len(tokens))
            if progress is not None:
                progress(done, total)
    return rows, lengths, seen


def _finish(
    partial: Path, rows: list[LedgerRow], lengths: list[int], seen: dict[str, int], scheme: str
) -> None:
    """Renumber the stream by the sorted vocabulary and write all else."""
    vocabulary = Vocabulary.of(seen, scheme=scheme)
    renumber = np.empty(len(seen), vocabulary.dtype)
    renumber[list(seen.values())] = vocabulary.encode(list(seen))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    stream = np.memmap(partial / "stream.u32", np.uint32, mode="r")
    tokens = np.lib.format.open_memmap(
        partial / "tokens.npy", mode="w+", dtype=vocabulary.dtype, shape=stream.shape
    )
    for start in range(0, len(stream), COPY_CHUNK):
        tokens[start : start + COPY_CHUNK] = renumber[stream[start : start + COPY_CHUNK]]
    tokens.flush()
    del stream, tokens
    (partial / "stream.u32").unlink()
    np.save(partial / "songs.npy", offsets)
    vocabulary.save(partial / "vocabulary.json")
    with (partial / "ledger.jsonl").open("w", encoding="utf-8") as ledger:
        for row in rows:
            ledger.write(json.dumps(dataclasses.asdict(row)) + "\n")

    digests = {
        name: _file_digest(partial / name)
        for name in ("tokens.npy", "songs.npy", "vocabulary.json")
    }
    about = {
        "format": FORMAT,
        "scheme": scheme,
        "tokeniser": TOKENISER,
        "files": len(rows),
        "songs": len(lengths),
        "tokens": int(offsets[-1]),
        "distinct": len(vocabulary),
        "digests": digests,
        "digest": hashlib.blake2b("".join(digests.values()).encode(), digest_size=16).hexdigest(),
    }
    (partial / "corpus.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _swap(partial: Path, target: Path) -> None:
    """Put the new folder where the old one is."""
    if not target.exists():
        partial.rename(target)
        return
    retired = target.with_name(f".{target.name}.old-{os.getpid()}")
    target.rename(retired)
    partial.rename(target)
    shutil.rmtree(retired, ignore_errors=True)


def _nothing_usable(folder: Path, rows: list[LedgerRow]) -> str:
    skipped = [row for row in rows if row.status == "skipped"]
    first = f" The first one skipped: {skipped[0].path}: {skipped[0].reason}" if skipped else ""
    return (
        f"None of the {len(rows)} MIDI files in {folder} gives any tokens: {len(skipped)} can't be "
        f"read, {len(rows) - len(skipped)} have no notes that count.{first}"
    )


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
