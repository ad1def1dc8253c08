"""A corpus's files, put together from records in the order of the stream."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus import DIGESTED, FORMAT, LedgerRow, digest_of, file_digest
from jaxmusic.records import Ids, Records, line_of
from jaxmusic.survey import Survey
from jaxmusic.tokens import Vocabulary

COPY_CHUNK = 1 << 20  # tokens renumbered at a time
COPIES_NAMED = 3  # in corpus.json, of files with the same bytes as another one


def assemble(
    folder: Path, survey: Survey, *, scheme: str, tokeniser: int, deduplicate: bool
) -> None:
    """Write the corpus of all files of a survey into an empty folder.

    Of files with the same bytes all are told, and with `deduplicate` only the first one is used.

    The bytes depend on what the rows and their tokens are, not on where they come from. Memory
    holds a few numbers of each file, and no tokens but those being copied.
    """
    records, which, rows = survey.records, survey.which, survey.rows
    starts, counts = (
        survey.column(lambda each: each.starts),
        survey.column(lambda each: each.counts),
    )
    originals = survey.originals()
    is_copy = originals != np.arange(len(originals))
    used = counts > 0
    if deduplicate:
        used &= ~is_copy
    runs = _runs(which[used], starts[used], counts[used])
    offsets = np.concatenate([[0], np.cumsum(counts[used])]).astype(np.int64)

    seen = [np.zeros(len(each.words), np.bool_) for each in records]
    for number, ids in _pieces(records, runs):
        seen[number][ids] = True
    vocabulary = Vocabulary.of(
        (each.words[place] for each, mask in zip(records, seen, strict=True)
         for place in np.flatnonzero(mask)),
        scheme=scheme,
    )  # fmt: skip
    renumber = [np.zeros(len(each.words), vocabulary.dtype) for each in records]
    for each, mask, table in zip(records, seen, renumber, strict=True):
        table[mask] = vocabulary.encode(each.words[place] for place in np.flatnonzero(mask))

    with (folder / "tokens.npy").open("wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(vocabulary.dtype),
            "fortran_order": False,
            "shape": (int(offsets[-1]),),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for number, ids in _pieces(records, runs):
            renumber[number][ids].tofile(file)
    np.save(folder / "songs.npy", offsets)
    vocabulary.save(folder / "vocabulary.json")
    with (folder / "ledger.jsonl").open("wb") as ledger:
        for place, (number, row) in enumerate(zip(which.tolist(), rows.tolist(), strict=True)):
            if deduplicate and is_copy[place]:
                ledger.write(line_of(_left_out(survey, place, int(originals[place]))))
            else:
                ledger.write(records[number].line(row))

    digests = {name: file_digest(folder / name) for name in DIGESTED}
    about: dict[str, Any] = {
        "format": FORMAT,
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
                [survey.paths[place], survey.paths[originals[place]]]
                for place in np.flatnonzero(is_copy)[:COPIES_NAMED].tolist()
            ],
        },
        "digests": digests,
        "ledger": file_digest(folder / "ledger.jsonl"),
        "digest": digest_of(digests),
    }
    (folder / "corpus.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _left_out(survey: Survey, place: int, original: int) -> LedgerRow:
    """The row of a file that is left out for another one."""
    return dataclasses.replace(
        survey.row(place),
        tokens=0,
        status="duplicate",
        reason=f"the same as {survey.paths[original]}",
    )


def _runs(
    which: npt.NDArray[np.int8], starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Songs that follow each other in their records too, as one: (runs, 3) of what, start, count.

    A corpus to which a few files are added is copied in a few pieces.
    """
    if not len(starts):
        return np.empty((0, 3), np.int64)
    goes_on = (which[1:] == which[:-1]) & (starts[1:] == starts[:-1] + counts[:-1])
    first = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    return np.stack([which[first], starts[first], np.add.reduceat(counts, first)], axis=1)


def _pieces(records: Sequence[Records], runs: npt.NDArray[np.int64]) -> Iterator[tuple[int, Ids]]:
    """The ids of all runs in turn, as their records number them, a bounded number at a time."""
    for number, start, count in runs.tolist():
        for place in range(0, count, COPY_CHUNK):
            yield number, records[number].read_ids(start + place, min(COPY_CHUNK, count - place))
