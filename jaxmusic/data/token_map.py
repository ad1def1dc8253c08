"""Maps a corpus's tokens to those of a run: transposed, and rare ones merged.

A table has the run's id for each transposition and each token of the corpus; windows are mapped
when they are read.
"""

from dataclasses import dataclass

import numpy as np

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
    corpus: Corpus, *, transpose: tuple[int, int] | None = None, min_count: int = 1
) -> TokenMap:
    """Make the map for these settings.

    Args:
        transpose: the lowest and the highest shift in semitones; None: no transposition.
        min_count: tokens with fewer occurrences in the corpus become the one token RARE.

    Raises ConfigError when `min_count` leaves no other token.
    """
    vocabulary = corpus.vocabulary
    low, high = transpose or (0, 0)
    shifts = (0, *(shift for shift in range(low, high + 1) if shift != 0))
    ids = np.arange(len(vocabulary), dtype=np.int32)
    rare = 0
    if min_count > 1:
        counts = token_counts(corpus)
        often = counts >= min_count
        if not often.any():
            most = vocabulary.tokens[int(counts.argmax())]
            raise ConfigError(
                f"--min-count {min_count} leaves no token to learn: the most frequent one, {most}, "
                f"occurs {counts.max():,} times; give a smaller --min-count."
            )
        rare = int((~often).sum())
        if rare:
            kept = [
                token for token, is_kept in zip(vocabulary.tokens, often, strict=True) if is_kept
            ]
            vocabulary = Vocabulary.of([*kept, RARE], vocabulary.scheme)
            ids = np.array(
                [
                    vocabulary.id_of(token if is_kept else RARE)
                    for token, is_kept in zip(corpus.vocabulary.tokens, often, strict=True)
                ],
                np.int32,
            )
    if len(shifts) == 1 and not rare:
        return TokenMap(vocabulary, None)
    tokenizer = get_tokenizer(vocabulary.scheme)
    table = np.full((len(shifts), len(ids)), OUT_OF_VOCABULARY, np.int32)
    for row, shift in enumerate(shifts):
        for token_id, token in enumerate(corpus.vocabulary.tokens):
            moved = tokenizer.transpose(token, shift) if shift else token
            if moved is not None and moved in corpus.vocabulary:
                table[row, token_id] = ids[corpus.vocabulary.id_of(moved)]
    return TokenMap(vocabulary, table, shifts, int(not low <= 0 <= high), rare)
