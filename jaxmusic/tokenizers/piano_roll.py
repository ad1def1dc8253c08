"""The piano-roll scheme: which of 88 keys sound in each row of equal duration.

A row is its keys from high to low, then `step`. So the probability of a row, that of a set of keys,
is the product of the probabilities of its tokens once those that can't follow are excluded: after a
key come only lower keys, or `step` (Walder 2016, arXiv 1606.01368, orders notes likewise). A song
begins with `step`, so that its first key has a token before it.

This is the form of the public piano-roll sets (Boulanger-Lewandowski et al. 2012), by whose
likelihood per row models are compared. A key that sounds in two consecutive rows may have been held
or repeated: the scheme does not say.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from jaxmusic.midi.types import MidiError, MidiScore, Note
from jaxmusic.midi.writer import TICKS_PER_QUARTER

LOWEST, HIGHEST = 21, 108  # MIDI numbers of a piano's keys
STEP = "step"  # ends a row
MAX_ROWS = 1 << 16  # of a MIDI file: four hours at 120 quarters a minute, a row an eighth
_ROWS_PER_QUARTER = 2


class PianoRollTokenizer:
    """A token a key ("p60" is middle C), and one that ends a row.

    Implements `jaxmusic.tokenizers.tokenizer.Tokenizer`.
    """

    name = "piano-roll"
    version = 1
    end_token = None

    def encode(self, score: MidiScore) -> list[str]:
        """The tokens of a file, a row an eighth note. Raises MidiError for one without notes.

        A key is in all rows from the one nearest its start to before the one nearest its end, but
        in one at least. Keys that a piano doesn't have are left out.
        """
        parts = [np.stack([track.starts, track.ends, track.pitches]) for track in score.tracks]
        starts, ends, pitches = np.concatenate([np.empty((3, 0), np.int64), *parts], axis=1)
        is_key = (pitches >= LOWEST) & (pitches <= HIGHEST)
        if not is_key.any():
            raise MidiError("it has no notes of a piano's keys")
        ticks = score.ticks_per_quarter
        first, last = (
            (2 * _ROWS_PER_QUARTER * times[is_key] + ticks) // (2 * ticks)
            for times in (starts, ends)
        )
        last = np.maximum(last, first + 1)
        if last.max() > MAX_ROWS:
            raise MidiError(f"it is longer than {MAX_ROWS:,} eighth notes")
        rows: list[set[int]] = [set() for _ in range(int(last.max()))]
        for start, end, pitch in zip(
            first.tolist(), last.tolist(), pitches[is_key].tolist(), strict=True
        ):
            for row in rows[start:end]:
                row.add(pitch)
        return tokens_of_rows(rows)

    def encode_counted(self, score: MidiScore) -> tuple[list[str], dict[str, int]]:
        """The tokens of a file; nothing is counted."""
        return self.encode(score), {}

    def decode(self, tokens: Sequence[str], *, step: float) -> list[list[Note]]:
        """The notes of tokens, in one track; a row lasts `step` quarters.

        A key in consecutive rows is one long note. Keys after the last `step` form a row too.
        Raises ValueError, naming it, for an invalid token.
        """
        notes: list[Note] = []
        begun: dict[int, int] = {}  # row in which a sounding key began, by pitch
        row: set[int] = set()

        def end_row(number: int) -> None:
            for pitch in sorted(begun.keys() - row):
                start, end = (
                    round(index * step * TICKS_PER_QUARTER) for index in (begun[pitch], number)
                )
                notes.append(Note(start, end, pitch))
                del begun[pitch]
            for pitch in row:
                begun.setdefault(pitch, number)
            row.clear()

        number = 0
        for index, token in enumerate(tokens):
            if token != STEP:
                row.add(_pitch_of(token))
            elif index:  # the first one begins the song
                end_row(number)
                number += 1
        end_row(number)
        end_row(number + 1)
        return [sorted(notes)]

    def transpose(self, token: str, semitones: int) -> str | None:
        """The token of the key so many semitones higher; None where a piano has no such key."""
        if token == STEP:
            return token
        pitch = _pitch_of(token) + semitones
        return f"p{pitch}" if LOWEST <= pitch <= HIGHEST else None

    def check(self, token: str) -> None:
        """Raise ValueError, naming it, for a token that is neither a key nor `step`."""
        if token != STEP:
            _pitch_of(token)

    def fixed_vocabulary(self) -> list[str]:
        """The 88 keys and `step`."""
        return [STEP, *(f"p{pitch}" for pitch in range(LOWEST, HIGHEST + 1))]

    def kind(self, token: str) -> str:
        """Either "step" or "key"."""
        return STEP if token == STEP else "key"

    def may_follow(self, before: str, token: str) -> bool:
        """Whether the row goes on with a lower key, or ends."""
        return STEP in (before, token) or _pitch_of(token) < _pitch_of(before)


def tokens_of_rows(rows: Iterable[Iterable[int]]) -> list[str]:
    """The tokens of a song, of the pitches (MIDI numbers) that sound in each row."""
    tokens = [STEP]
    for row in rows:
        tokens += [f"p{pitch}" for pitch in sorted(row, reverse=True)]
        tokens.append(STEP)
    return tokens


def _pitch_of(token: str) -> int:
    digits = token.removeprefix("p")
    if digits != token and digits.isascii() and digits.isdecimal() and digits[0] != "0":
        pitch = int(digits[:4])
        if LOWEST <= pitch <= HIGHEST and str(pitch) == digits:
            return pitch
    raise ValueError(f"{token!r} is neither {STEP!r} nor a key (p{LOWEST} to p{HIGHEST})")
