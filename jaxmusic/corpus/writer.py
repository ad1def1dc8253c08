"""Writes the files of a corpus, from rows and token ids of parsed files, in a fixed order."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.corpus import DIGESTED, FORMAT, digest_of
from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.corpus.metadata import OWN_DIGEST, Source
from jaxmusic.corpus.parsed_files import Ids, ParsedFiles
from jaxmusic.storage.atomic import sync, write_atomic, writing
from jaxmusic.storage.reading import file_digest, with_digest
from jaxmusic.tokenizers.tokenizer import get_tokenizer
from jaxmusic.tokenizers.vocabulary import Vocabulary

COPY_CHUNK = 1 << 20  # tokens renumbered at a time (or one song)
NAMED_DUPLICATES = 3  # in corpus.json


class FileSequence:
    """The files of a corpus in order: file k is row `rows[k]` of `stores[store_of[k]]`.

    Memory holds these two numbers of each file, and what the stores hold.
    """

    def __init__(
        self,
        stores: Sequence[ParsedFiles],
        store_of: npt.NDArray[np.int8],
        rows: npt.NDArray[np.int64],
    ) -> None:
        self.stores = stores
        self.store_of = store_of
        self.rows = rows

    def row(self, index: int) -> LedgerRow:
        """The ledger row of a file."""
        return self.stores[int(self.store_of[index])].row(int(self.rows[index]))

    def ledger(self) -> Iterator[LedgerRow]:
        """The ledger rows of all files."""
        for store, row in zip(self.store_of.tolist(), self.rows.tolist(), strict=True):
            yield self.stores[store].row(row)

    def column(self, values: Callable[[ParsedFiles], Sequence[int]]) -> npt.NDArray[np.int64]:
        """One number per file, out of the same column of all stores."""
        column = np.zeros(len(self.rows), np.int64)
        for number, store in enumerate(self.stores):
            mine = self.store_of == number
            if mine.any():
                column[mine] = np.asarray(values(store), np.int64)[self.rows[mine]]
        return column

    def originals(self) -> npt.NDArray[np.int64]:
        """Per file, the index of the first file with the same bytes, which is mostly its own.

        A file without tokens is its own original.
        """
        originals = np.arange(len(self.rows))
        used = np.flatnonzero(self.column(lambda store: store.counts))
        prefixes = self.column(lambda store: store.digest_prefixes)[used]
        order = np.argsort(prefixes, kind="stable")
        used, prefixes = used[order], prefixes[order]
        equal = np.flatnonzero(prefixes[1:] == prefixes[:-1])
        firsts: dict[str, int] = {}  # by whole digest
        for index in sorted({*used[equal].tolist(), *used[equal + 1].tolist()}):
            originals[index] = firsts.setdefault(self.row(index).digest, index)
        return originals


def write_corpus(
    folder: Path,
    files: FileSequence,
    *,
    scheme: str,
    tokenizer_version: int,
    made_of: Source = "midi",
    deduplicate: bool = False,
) -> None:
    """Write the corpus of a sequence of files into an empty folder.

    `deduplicate` uses only the first of several files with the same bytes; without it they are
    only counted. The bytes written depend on rows and tokens alone, not on where these come from.
    Memory holds a few numbers per file and the tokens being copied. Raises WriteError, and
    ChangedFileError when rows or tokens are not what was read or written before.
    """
    stores, store_of, rows = files.stores, files.store_of, files.rows
    starts = files.column(lambda store: store.starts)
    counts = files.column(lambda store: store.counts)
    originals = files.originals()
    is_copy = originals != np.arange(len(originals))
    used = counts > 0
    if deduplicate:
        used &= ~is_copy
    offsets = np.concatenate([[0], np.cumsum(counts[used])]).astype(np.int64)
    crcs = files.column(lambda store: store.crcs())
    songs = _Songs(stores, store_of[used], starts[used], offsets, crcs[used])

    seen = [np.zeros(len(store.tokens), np.bool_) for store in stores]
    for number, ids in songs.chunks():
        seen[number][ids] = True
    fixed = get_tokenizer(scheme).fixed_vocabulary()
    vocabulary = Vocabulary.of(
        (store.tokens[id_] for store, mask in zip(stores, seen, strict=True)
         for id_ in np.flatnonzero(mask)) if fixed is None else fixed,
        scheme=scheme,
    )  # fmt: skip
    new_ids = [np.zeros(len(store.tokens), vocabulary.dtype) for store in stores]
    for store, mask, table in zip(stores, seen, new_ids, strict=True):
        table[mask] = vocabulary.encode(store.tokens[id_] for id_ in np.flatnonzero(mask))

    with writing(folder):
        tokens = (new_ids[number][ids] for number, ids in songs.chunks())
        _save_array(folder / "tokens.npy", vocabulary.dtype, int(offsets[-1]), tokens)
        _save_array(folder / "songs.npy", offsets.dtype, len(offsets), [offsets])
        vocabulary.save(folder / "vocabulary.json")
        with (folder / "ledger.jsonl").open("xb") as ledger:
            pairs = zip(store_of.tolist(), rows.tolist(), strict=True)
            for index, (number, row) in enumerate(pairs):
                if deduplicate and is_copy[index]:
                    line = _duplicate_row(files, index, int(originals[index])).line()
                else:
                    line = stores[number].line(row)
                ledger.write(line)

    digests = {name: file_digest(folder / name) for name in DIGESTED}
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "made_of": made_of,
        "scheme": scheme,
        "tokeniser": tokenizer_version,
        "files": len(rows),
        "songs": len(offsets) - 1,
        "tokens": int(offsets[-1]),
        "distinct": len(vocabulary),
        "duplicates": {
            "files": int(is_copy.sum()),
            "left_out": deduplicate,
            "first": [
                [files.row(index).path, files.row(int(originals[index])).path]
                for index in np.flatnonzero(is_copy)[:NAMED_DUPLICATES].tolist()
            ],
        },
        "digests": digests,
        "ledger": file_digest(folder / "ledger.jsonl"),
        "digest": digest_of(digests),
    }
    write_atomic(
        folder / "corpus.json", json.dumps(with_digest(metadata, OWN_DIGEST), indent=2) + "\n"
    )
    with writing(folder):  # all of it is on disk before it replaces another corpus
        for path in folder.iterdir():
            sync(path)


def _save_array(
    path: Path, dtype: np.dtype[Any], length: int, chunks: Iterable[npt.NDArray[Any]]
) -> None:
    """np.save for an array in chunks. Unlike np.save, it raises the error of a full disk."""
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (length,)}
    with path.open("xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(chunk.data)


def _duplicate_row(files: FileSequence, index: int, original: int) -> LedgerRow:
    return dataclasses.replace(
        files.row(index),
        tokens=0,
        status="duplicate",
        reason=f"the same as {files.row(original).path}",
    )


class _Songs(NamedTuple):
    """The songs of a corpus, and where their ids are read from."""

    stores: Sequence[ParsedFiles]
    store_of: npt.NDArray[np.int8]  # (songs,)
    starts: npt.NDArray[np.int64]  # (songs,), in their stores
    offsets: npt.NDArray[np.int64]  # (songs + 1,), in the corpus
    crcs: npt.NDArray[np.int64]  # (songs,)

    def chunks(self) -> Iterator[tuple[int, Ids]]:
        """Store number and ids, checked, of all songs in turn.

        Songs that are adjacent in their store too are read together, up to COPY_CHUNK tokens: a
        corpus to which a few files are added is copied in a few chunks.
        """
        store_of, starts = self.store_of, self.starts
        counts = np.diff(self.offsets)
        is_adjacent = (store_of[1:] == store_of[:-1]) & (starts[1:] == starts[:-1] + counts[:-1])
        ends = np.append(np.flatnonzero(~is_adjacent) + 1, len(store_of))
        first = 0
        while first < len(store_of):
            most = np.searchsorted(self.offsets, self.offsets[first] + COPY_CHUNK, "right") - 1
            end = ends[np.searchsorted(ends, first, "right")]
            stop = max(min(int(most), int(end)), first + 1)
            number = int(store_of[first])
            ids = self.stores[number].read_songs(
                int(starts[first]), counts[first:stop].tolist(), self.crcs[first:stop].tolist()
            )
            yield number, ids
            first = stop
