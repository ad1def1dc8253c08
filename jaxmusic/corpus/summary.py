"""Describes a corpus in lines of text."""

import itertools
import re
from bisect import bisect_right
from collections import Counter
from pathlib import Path

import numpy as np

from jaxmusic.corpus.corpus import DIGESTED, Corpus, read_ledger, read_metadata, token_counts
from jaxmusic.runtime.printable import printable
from jaxmusic.tokenizers.tokenizer import get_tokenizer

LISTED_UNUSED = 100  # files in a summary; the ledger has all
MOST_FREQUENT = 20  # tokens listed
LISTED_SONGS = 3  # of the longest, and of the shortest
VERIFIED_BYTES = 1 << 28  # of tokens: to read more would take longer than a person likes to wait
BAR_WIDTH = 40  # characters of the longest bar

# Bin edges of song lengths: 10, 20, 50, 100, ...
_EDGES = [0, *(step * 10**power for power in range(1, 13) for step in (1, 2, 5))]


def summarize(corpus: Corpus) -> list[str]:
    """A few lines: files, unused files, duplicates, tokens.

    Raises CorpusError when the ledger is damaged.
    """
    corpus.check_digests(ignore=DIGESTED)
    counts = Counter[str]()
    notes = Counter[str]()
    listed: dict[str, list[str]] = {"empty": [], "skipped": []}
    for row in read_ledger(corpus.path):  # memory holds no more rows than are listed
        counts[row.status] += 1
        notes.update(row.notes if row.status == "used" else {})
        if row.status in listed and len(listed[row.status]) < LISTED_UNUSED:
            why = row.reason if row.status == "skipped" else "it has no notes that count"
            listed[row.status].append(f"  {row.status}: {printable(row.path)}: {why}")
    unused = [*listed["empty"], *listed["skipped"]][:LISTED_UNUSED]
    if (more := counts["empty"] + counts["skipped"] - len(unused)) > 0:
        unused.append(f"  and {more:,} more: see {printable(corpus.path / 'ledger.jsonl')}")
    fixed = get_tokenizer(corpus.vocabulary.scheme).fixed_vocabulary()
    words = "distinct" if fixed is None else "in the vocabulary"
    return [
        f"{counts.total():,} files: {_counted(counts)}",
        *unused,
        *_duplicates(corpus.path),
        f"{len(corpus.tokens):,} tokens, {len(corpus.vocabulary):,} {words} "
        f"({corpus.vocabulary.scheme} scheme), in {printable(corpus.path)}",
        *_notes(notes),
    ]


def describe(corpus: Corpus) -> list[str]:
    """All counts: song lengths, frequent tokens, why files were left out.

    Files are verified first, except the tokens of a large corpus, as the last line says. Raises
    CorpusError when a file is damaged.
    """
    unverified = ("tokens.npy",) if corpus.tokens.nbytes > VERIFIED_BYTES else ()
    corpus.check_digests(ignore=unverified)
    files: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    size = 0
    songs: list[str] = []
    for row in read_ledger(corpus.path):
        files[row.status] += 1
        size += row.size
        if row.status == "used":
            songs.append(printable(row.path))
        elif row.status == "duplicate":
            reasons["it is the same as another file"] += 1
        else:
            reasons[
                without_numbers(row.reason) if row.reason else "it has no notes that count"
            ] += 1
    corpus.check_ledger(len(songs))
    lengths = np.diff(corpus.offsets)
    return [
        f"Corpus      {printable(corpus.path)}",
        f"Scheme      {corpus.vocabulary.scheme}, tokenizer version {corpus.tokenizer_version}",
        f"Digest      {corpus.digest}",
        f"Files       {files.total():,} of {size / 1e6:,.1f} MB: {_counted(files)}",
        f"Tokens      {len(corpus.tokens):,}, {len(corpus.vocabulary):,} distinct, "
        f"{corpus.tokens.dtype.itemsize} bytes each",
        *_lengths(lengths, songs),
        *_tokens(corpus),
        *_reasons(reasons, files.total()),
        "",
        f"Not verified: the content of {', '.join(unverified)}. prepare.py --check reads it all."
        if unverified
        else "All files are as they were written.",
    ]


def _notes(counts: Counter[str]) -> list[str]:
    """What became of the notes of the files used, if their tokenizer counts them."""
    found = [f"{count:,} {name}" for name, count in counts.items() if count]
    return [f"Notes: {', '.join(found)}"] if found else []


def _lengths(lengths: np.ndarray, songs: list[str]) -> list[str]:
    shortest, median, longest = np.percentile(lengths, [0, 50, 100])
    order = np.argsort(lengths, kind="stable")
    within = [edge for edge in _EDGES if shortest < edge <= longest]
    edges = [_EDGES[bisect_right(_EDGES, shortest) - 1], *within]
    edges.append(_EDGES[bisect_right(_EDGES, longest)])
    counts, _ = np.histogram(lengths, edges)
    names = [f"{low:,} - {high - 1:,}" for low, high in itertools.pairwise(edges)]
    many = len(songs) > 2 * LISTED_SONGS
    indices = (
        [*order[::-1][:LISTED_SONGS], None, *order[:LISTED_SONGS][::-1]] if many else order[::-1]
    )
    return [
        "",
        f"Songs       {len(songs):,}; tokens of one: median {median:,.0f}, mean "
        f"{lengths.mean():,.0f}, from {shortest:,.0f} to {longest:,.0f}",
        *_bars(names, counts.tolist(), int(counts.sum())),
        "",
        *(
            "  ..." if index is None else f"  {lengths[index]:>9,}  {songs[index]}"
            for index in indices
        ),
    ]


def _tokens(corpus: Corpus) -> list[str]:
    counts = token_counts(corpus)
    most = np.argsort(-counts, kind="stable")[:MOST_FREQUENT]
    names = [corpus.vocabulary.tokens[id_] for id_ in most]
    once = int((counts == 1).sum())
    return [
        "",
        f"Most frequent tokens ({once:,} of the {len(counts):,} appear once)",
        *_bars(names, counts[most].tolist(), int(counts.sum())),
    ]


def _reasons(reasons: Counter[str], files: int) -> list[str]:
    if not reasons:
        return []
    names, counts = zip(*reasons.most_common(), strict=True)
    return ["", "Files left out, and why", *_bars(names, counts, files)]


def _bars(
    names: list[str] | tuple[str, ...], counts: list[int] | tuple[int, ...], total: int
) -> list[str]:
    """A line per name: count, share of the total, a bar."""
    width = max(map(len, names))
    most = max(1, *counts)
    return [
        f"  {name:<{width}} {count:>11,} {count / total:>6.1%}  "
        f"{'#' * round(count / most * BAR_WIDTH)}".rstrip()
        for name, count in zip(names, counts, strict=True)
    ]


def without_numbers(reason: str) -> str:
    """A reason without its numbers, so that equal ones can be counted."""
    return re.sub(r"\d[\d,]*", "N", reason)


def _counted(counts: Counter[str]) -> str:
    """The numbers of files by their status in the ledger."""
    text = f"{counts['used']:,} used, {counts['empty']:,} empty, {counts['skipped']:,} skipped"
    return text + (f", {counts['duplicate']:,} left out" if counts["duplicate"] else "")


def _duplicates(folder: Path) -> list[str]:
    metadata = read_metadata(folder)
    if metadata is None or not metadata.duplicates.files:
        return []
    duplicates = metadata.duplicates
    pairs = [f"{printable(path)} as {printable(original)}" for path, original in duplicates.first]
    dots = ", ..." if duplicates.files > len(pairs) else ""
    what = "left out" if duplicates.left_out else "used all the same (not with --deduplicate)"
    return [
        f"{duplicates.files:,} files with the same bytes as another one, {what}: "
        f"{', '.join(pairs)}{dots}"
    ]
