"""A corpus's files, put together from records in the order of the stream."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.corpus import DIGESTED, FORMAT, LedgerRow, digest_of
from jaxmusic.corpus.corpus_file import OWN_DIGEST, Source
from jaxmusic.preparation.records import Ids, Records, line_of
from jaxmusic.preparation.stream import Stream
from jaxmusic.storage.atomic import sync, write_atomic, writing
from jaxmusic.storage.reading import file_digest, with_digest
from jaxmusic.tokenizers.tokens import Vocabulary

COPY_CHUNK = 1 << 20  # tokens renumbered at a time (or one song)
COPIES_NAMED = 3  # in corpus.json, of files with the same bytes as another one


def assemble(
    folder: Path,
    stream: Stream,
    *,
    scheme: str,
    tokeniser: int,
    made_of: Source = "midi",
    deduplicate: bool = False,
) -> None:
    """Write the corpus of all files of a stream into an empty folder.

    Of files with the same bytes all are told, and with `deduplicate` only the first one is used.

    The bytes depend on what the rows and their tokens are, not on where they come from. Memory
    holds a few numbers of each file, and no tokens but those being copied. Raises WriteError, and
    ChangedFileError when rows or tokens are not what was read or written before.
    """
    records, which, rows = stream.records, stream.which, stream.rows
    starts = stream.column(lambda each: each.starts)
    counts = stream.column(lambda each: each.counts)
    originals = stream.originals()
    is_copy = originals != np.arange(len(originals))
    used = counts > 0
    if deduplicate:
        used &= ~is_copy
    offsets = np.concatenate([[0], np.cumsum(counts[used])]).astype(np.int64)
    crcs = stream.column(lambda each: each.crcs())
    songs = _Songs(records, which[used], starts[used], offsets, crcs[used])

    seen = [np.zeros(len(each.words), np.bool_) for each in records]
    for number, ids in songs.pieces():
        seen[number][ids] = True
    vocabulary = Vocabulary.of(
        (each.words[place] for each, mask in zip(records, seen, strict=True)
         for place in np.flatnonzero(mask)),
        scheme=scheme,
    )  # fmt: skip
    renumber = [np.zeros(len(each.words), vocabulary.dtype) for each in records]
    for each, mask, table in zip(records, seen, renumber, strict=True):
        table[mask] = vocabulary.encode(each.words[place] for place in np.flatnonzero(mask))

    with writing(folder):
        tokens = (renumber[number][ids] for number, ids in songs.pieces())
        _save_array(folder / "tokens.npy", vocabulary.dtype, int(offsets[-1]), tokens)
        _save_array(folder / "songs.npy", offsets.dtype, len(offsets), [offsets])
        vocabulary.save(folder / "vocabulary.json")
        with (folder / "ledger.jsonl").open("xb") as ledger:
            for place, (number, row) in enumerate(zip(which.tolist(), rows.tolist(), strict=True)):
                if deduplicate and is_copy[place]:
                    ledger.write(line_of(_left_out(stream, place, int(originals[place]))))
                    continue
                ledger.write(records[number].line(row))

    digests = {name: file_digest(folder / name) for name in DIGESTED}
    about: dict[str, Any] = {
        "format": FORMAT,
        "made_of": made_of,
        "scheme": scheme,
        "tokeniser": tokeniser,
        "files": len(rows),
        "songs": len(offsets) - 1,
        "tokens": int(offsets[-1]),
        "distinct": len(vocabulary),
        "duplicates": {
            "files": int(is_copy.sum()),
            "left_out": deduplicate,
            "first": [
                [stream.row(place).path, stream.row(int(originals[place])).path]
                for place in np.flatnonzero(is_copy)[:COPIES_NAMED].tolist()
            ],
        },
        "digests": digests,
        "ledger": file_digest(folder / "ledger.jsonl"),
        "digest": digest_of(digests),
    }
    write_atomic(
        folder / "corpus.json", json.dumps(with_digest(about, OWN_DIGEST), indent=2) + "\n"
    )
    with writing(folder):  # all of it, before it takes another corpus's place
        for path in folder.iterdir():
            sync(path)


def _save_array(
    path: Path, dtype: np.dtype[Any], length: int, pieces: Iterable[npt.NDArray[Any]]
) -> None:
    """As np.save, but the array comes in pieces, and a full disk is told by its own error."""
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (length,)}
    with path.open("xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            file.write(piece.data)


def _left_out(stream: Stream, place: int, original: int) -> LedgerRow:
    """The row of a file that is left out for another one."""
    return dataclasses.replace(
        stream.row(place),
        tokens=0,
        status="duplicate",
        reason=f"the same as {stream.row(original).path}",
    )


class _Songs(NamedTuple):
    """The songs of a corpus, and where their ids are read."""

    records: Sequence[Records]
    which: npt.NDArray[np.int8]
    starts: npt.NDArray[np.int64]  # in their records
    offsets: npt.NDArray[np.int64]  # (songs + 1) in the corpus
    crcs: npt.NDArray[np.int64]

    def pieces(self) -> Iterator[tuple[int, Ids]]:
        """The ids of all songs in turn, as their records number them; each song is checked.

        Songs that follow each other in their records too are read together, up to COPY_CHUNK
        tokens: a corpus to which a few files are added is copied in a few pieces.
        """
        which, starts = self.which, self.starts
        counts = np.diff(self.offsets)
        goes_on = (which[1:] == which[:-1]) & (starts[1:] == starts[:-1] + counts[:-1])
        ends = np.append(np.flatnonzero(~goes_on) + 1, len(which))
        first = 0
        while first < len(which):
            most = np.searchsorted(self.offsets, self.offsets[first] + COPY_CHUNK, "right") - 1
            run = ends[np.searchsorted(ends, first, "right")]
            stop = max(min(int(most), int(run)), first + 1)
            number = int(which[first])
            yield (
                number,
                self.records[number].read_songs(
                    int(starts[first]),
                    counts[first:stop].tolist(),
                    self.crcs[first:stop].tolist(),
                ),
            )
            first = stop
