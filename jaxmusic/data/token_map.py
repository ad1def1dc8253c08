"""Maps a corpus's tokens to those of a run: transposed, and rare ones merged.

A table has the run's id for each transposition and each token of the corpus; windows are mapped
when they are read.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jaxmusic.config import ConfigError
from jaxmusic.corpus.corpus import Corpus, token_counts
from jaxmusic.tokenizers.tokenizer import get_tokenizer
from jaxmusic.tokenizers.vocabulary import RARE, Vocabulary

OUT_OF_VOCABULARY = -1  # in the table: the corpus lacks the transposed token


@dataclass(frozen=True)
class TokenMap:
    """The tokens of a corpus as a run sees them."""

    vocabulary: Vocabulary  # the run's
    # (shifts, corpus tokens) int32: ids of the run, or OUT_OF_VOCABULARY; row 0 is shift 0.
    # None: the run uses the corpus's ids, without transposition.
    table: np.ndarray | None
    shifts: tuple[int, ...] = (0,)  # semitones, by row
    first_random_row: int = 0  # training chooses rows from here: 1 when the range lacks shift 0
    rare: int = 0  # tokens of the corpus that were merged into RARE


def make_token_map(
    corpus: Corpus,
    *,
    transpose: tuple[int, int] | None = None,
    min_count: int = 1,
    extend: bool = False,
) -> TokenMap:
    """Make the map for these settings.

    Args:
        transpose: the lowest and the highest shift in semitones; None: no transposition.
        min_count: tokens with fewer occurrences in the corpus become the one token RARE.
        extend: whether the vocabulary gets the transpositions of its tokens too.

    Raises ConfigError when `min_count` leaves no other token.
    """
    low, high = transpose or (0, 0)
    shifts = (0, *(shift for shift in range(low, high + 1) if shift != 0))
    tokens = corpus.vocabulary.tokens
    often = _frequent(corpus, min_count)
    if len(shifts) == 1 and often.all():
        return TokenMap(corpus.vocabulary, None)

    tokenizer = get_tokenizer(corpus.vocabulary.scheme)
    moved = [
        [tokenizer.transpose(token, shift) if shift else token for token in tokens]
        for shift in shifts
    ]
    known = {token for token, is_kept in zip(tokens, often, strict=True) if is_kept}
    merged = {token for token, is_kept in zip(tokens, often, strict=True) if not is_kept}
    if extend:
        for row in moved:
            kept = (token for token, is_kept in zip(row, often, strict=True) if is_kept)
            known.update(filter(None, kept))
        merged -= known
    vocabulary = corpus.vocabulary
    if known != set(tokens):
        vocabulary = Vocabulary.of([*known, RARE] if merged else known, vocabulary.scheme)
    ids: dict[str | None, int] = {token: vocabulary.id_of(token) for token in known}
    if merged:
        ids |= dict.fromkeys(merged, vocabulary.id_of(RARE))
    table = np.array(
        [[ids.get(token, OUT_OF_VOCABULARY) for token in row] for row in moved], np.int32
    )
    return TokenMap(vocabulary, table, shifts, int(not low <= 0 <= high), len(merged))


def _frequent(corpus: Corpus, min_count: int) -> npt.NDArray[np.bool_]:
    """Which tokens are not rare: (tokens,). Raises ConfigError when all are."""
    vocabulary = corpus.vocabulary
    if min_count == 1:
        return np.ones(len(vocabulary), bool)
    counts = token_counts(corpus)
    often = counts >= min_count
    if not often.any():
        most = vocabulary.tokens[int(counts.argmax())]
        raise ConfigError(
            f"--min-count {min_count} leaves no token to learn: the most frequent one, {most}, "
            f"occurs {counts.max():,} times; give a smaller --min-count."
        )
    return often
