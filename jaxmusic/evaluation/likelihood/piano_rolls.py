"""The public measure: the negative log-likelihood of piano rolls, in nats a row.

Boulanger-Lewandowski et al. (2012, "Modeling Temporal Dependencies in High-Dimensional Sequences")
compare models by it on fixed test songs. The probability of a row, a set of keys, is the product of
those of its tokens, where the tokens that can't follow are excluded; see
`jaxmusic.tokenizers.piano_roll`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxmusic.errors import UserError
from jaxmusic.evaluation.likelihood.network import network_bits
from jaxmusic.preparation.sources.piano_rolls import SCHEME, Roll, roll_tokens
from jaxmusic.run import Run
from jaxmusic.tokenizers.piano_roll import STEP
from jaxmusic.tokenizers.tokenizer import get_tokenizer
from jaxmusic.tokenizers.vocabulary import Vocabulary


class ScoreError(UserError):
    """A run that can't be scored on piano rolls."""


@dataclass(frozen=True)
class RollScore:
    """Nats a row over all rows of some songs; the standard error is over songs."""

    songs: int
    rows: int
    nats_per_row: float
    standard_error: float
    nats_per_row_but_first: float  # without the first row of each song, as some papers count

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def score_rolls(
    run: Run,
    rolls: Sequence[Roll],
    *,
    keys: Sequence[int] = (0,),
    log: Callable[[str], None] = lambda line: None,
) -> RollScore:
    """Score a run on songs (rows, 88), with the LSTM state carried through each of them.

    Args:
        keys: semitones by which the songs are transposed: the probability of a token is the mean of
            those of its transpositions, each after the transposed tokens before it. Every term is a
            probability of the whole music, so their mean is one too.

    Raises ScoreError for a run of another scheme or of the objective `last`, and when a song leaves
    the keyboard in one of the keys.
    """
    if run.vocabulary.scheme != SCHEME or run.config.model.objective != "every":
        raise ScoreError(
            f"The run {run.path} has the scheme {run.vocabulary.scheme} and the objective "
            f"{run.config.model.objective}, but piano rolls are scored with {SCHEME} and every: "
            "train on a corpus of prepare --piano-rolls, with --objective every."
        )
    songs = [roll_tokens(roll) for roll in rolls]
    allowed = run.vocabulary.allowed_next()
    probabilities = [np.zeros(len(song) - 1) for song in songs]
    for number, semitones in enumerate(keys, start=1):
        if len(keys) > 1:
            log(f"Key {number} of {len(keys)}: {semitones:+} semitones")
        ids = [_transposed_ids(song, run.vocabulary, semitones) for song in songs]
        found = network_bits(run, ids, allowed=allowed)
        for index, each in enumerate(found):
            probabilities[index] += np.exp2(-each.bits) / len(keys)
    nats = [-np.log(each) for each in probabilities]
    rows = np.array([len(roll) for roll in rolls])
    totals = np.array([each.sum() for each in nats])
    firsts = np.array(
        [each[: song.index(STEP, 1)].sum() for each, song in zip(nats, songs, strict=True)]
    )
    mean = totals.sum() / rows.sum()
    # Of a ratio of sums (Cochran 1977, "Sampling Techniques", section 6.4).
    deviations = totals - mean * rows
    error = np.sqrt((deviations**2).sum() / max(1, len(rows) - 1) * len(rows)) / rows.sum()
    return RollScore(
        songs=len(rolls),
        rows=int(rows.sum()),
        nats_per_row=float(mean),
        standard_error=float(error),
        nats_per_row_but_first=float((totals - firsts).sum() / max(1, (rows - 1).sum())),
    )


def score_lines(score: RollScore, part: str) -> list[str]:
    """A score in words."""
    return [
        f"{score.nats_per_row:.3f} nats a row (standard error {score.standard_error:.3f} over "
        f"songs): {score.rows:,} rows of {score.songs:,} songs ({part})",
        f"{score.nats_per_row_but_first:.3f} without the first row of each song",
    ]


def _transposed_ids(
    tokens: Sequence[str], vocabulary: Vocabulary, semitones: int
) -> npt.NDArray[np.int64]:
    tokenizer = get_tokenizer(SCHEME)
    moved = [tokenizer.transpose(token, semitones) for token in tokens]
    known = [token for token in moved if token is not None and token in vocabulary]
    if len(known) < len(tokens):
        raise ScoreError(
            f"Transposed by {semitones:+} semitones, a song has keys that the run doesn't know: "
            "leave that key out of --keys."
        )
    return vocabulary.encode(known).astype(np.int64)
