"""What is in a corpus, for a person to look at."""

import itertools
import re
from bisect import bisect_right
from collections import Counter

import numpy as np

from jaxmusic.corpus.corpus import Corpus, read_ledger, tell_counts, token_counts
from jaxmusic.runtime.printable import printable

MOST_FREQUENT = 20  # tokens told
SONGS_TOLD = 3  # of the longest and of the shortest
BYTES_VERIFIED = 1 << 28  # of tokens: more take longer to read than a person likes to wait
BAR_WIDTH = 40  # characters of the longest bar

# Song lengths are counted between these: 10, 20, 50, 100, ...
_EDGES = [0, *(step * 10**power for power in range(1, 13) for step in (1, 2, 5))]


def inventory(corpus: Corpus) -> list[str]:
    """Counts, song lengths, the most frequent tokens, why files were left out: a line each.

    All that is counted is verified first, but the tokens of a large corpus, as the last line says
    then. Raises CorpusError when a file is damaged.
    """
    unverified = ("tokens.npy",) if corpus.tokens.nbytes > BYTES_VERIFIED else ()
    corpus.check_digests(but=unverified)
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
            reasons[kind_of(row.reason) if row.reason else "it has no notes that count"] += 1
    corpus.check_ledger(len(songs))
    lengths = np.diff(corpus.offsets)
    return [
        f"Corpus      {printable(corpus.path)}",
        f"Scheme      {corpus.vocabulary.scheme}, tokeniser {corpus.tokeniser}",
        f"Digest      {corpus.digest}",
        f"Files       {files.total():,} of {size / 1e6:,.1f} MB: {tell_counts(files)}",
        f"Tokens      {len(corpus.tokens):,}, {len(corpus.vocabulary):,} distinct, "
        f"{corpus.tokens.dtype.itemsize} bytes each",
        *_tell_lengths(lengths, songs),
        *_tell_tokens(corpus),
        *_tell_reasons(reasons, files.total()),
        "",
        f"Not verified: the content of {', '.join(unverified)}. prepare.py --check reads it all."
        if unverified
        else "All files are as they were written.",
    ]


def _tell_lengths(lengths: np.ndarray, songs: list[str]) -> list[str]:
    shortest, median, longest = np.percentile(lengths, [0, 50, 100])
    order = np.argsort(lengths, kind="stable")
    within = [edge for edge in _EDGES if shortest < edge <= longest]
    edges = [_EDGES[bisect_right(_EDGES, shortest) - 1], *within]
    edges.append(_EDGES[bisect_right(_EDGES, longest)])
    counts, _ = np.histogram(lengths, edges)
    names = [f"{low:,} - {high - 1:,}" for low, high in itertools.pairwise(edges)]
    many = len(songs) > 2 * SONGS_TOLD
    told = [*order[::-1][:SONGS_TOLD], None, *order[:SONGS_TOLD][::-1]] if many else order[::-1]
    return [
        "",
        f"Songs       {len(songs):,}; tokens of one: median {median:,.0f}, mean "
        f"{lengths.mean():,.0f}, from {shortest:,.0f} to {longest:,.0f}",
        *_bars(names, counts.tolist(), int(counts.sum())),
        "",
        *(
            "  ..." if place is None else f"  {lengths[place]:>9,}  {songs[place]}"
            for place in told
        ),
    ]


def _tell_tokens(corpus: Corpus) -> list[str]:
    counts = token_counts(corpus)
    most = np.argsort(-counts, kind="stable")[:MOST_FREQUENT]
    names = [corpus.vocabulary.tokens[place] for place in most]
    once = int((counts == 1).sum())
    return [
        "",
        f"Most frequent tokens ({once:,} of the {len(counts):,} appear once)",
        *_bars(names, counts[most].tolist(), int(counts.sum())),
    ]


def _tell_reasons(reasons: Counter[str], files: int) -> list[str]:
    if not reasons:
        return []
    names, counts = zip(*reasons.most_common(), strict=True)
    return ["", "Files left out, and why", *_bars(names, counts, files)]


def _bars(
    names: list[str] | tuple[str, ...], counts: list[int] | tuple[int, ...], total: int
) -> list[str]:
    """A line for each: name, count, share of the total, a bar."""
    width = max(map(len, names))
    most = max(1, *counts)
    return [
        f"  {name:<{width}} {count:>11,} {count / total:>6.1%}  "
        f"{'#' * round(count / most * BAR_WIDTH)}".rstrip()
        for name, count in zip(names, counts, strict=True)
    ]


def kind_of(reason: str) -> str:
    """A reason without the numbers that tell one file from the other."""
    return re.sub(r"\d[\d,]*", "N", reason)
