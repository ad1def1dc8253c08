"""The scheme `timed`: when each note begins, its pitch and how long it lasts.

    song := end (wait* [loud] note len)* end

- `wait:K` lets K steps pass; several add up. `len:K` is the length of the note before it. A step is
  a twelfth of a quarter, or a 48th in `timed-48`, which is for performances and applies the sustain
  pedal. K is one of `grid_notes.LENGTHS`: each step up to 48, then coarser up to 960.
- `note:P` begins a note of the MIDI pitch P. Notes of one onset are in order from high to low.
- `loud:L` (in `timed-loud` and `timed-48-loud`) comes before a note that is louder or softer than
  the one before: L is its velocity over 16, from 1 (ppp) to 8 (fff).
- `end` begins and ends each song.

`grid_notes` has the rules by which a file's notes come to the grid. The vocabulary is fixed: end,
76 waits, 76 lengths and 128 pitches are 281 tokens; with 8 degrees of loudness, 289.
"""

from collections.abc import Sequence

import numpy as np

from jaxmusic.midi.types import MidiError, MidiScore, Note
from jaxmusic.midi.writer import TICKS_PER_QUARTER
from jaxmusic.tokenizers.timed.grid_notes import (
    FLOOR_INDEX,
    LENGTHS,
    LONGEST,
    PITCH_COUNT,
    GridNotes,
    Ints,
    grid_notes,
)

END = "end"
DEGREES = 8  # of loudness
_MIDDLE_DEGREE = 5  # of a note without any: a velocity of 80
_VELOCITIES_PER_DEGREE = 16

# The tokens, numbered: end, waits, lengths, pitches, degrees of loudness.
_TOKENS = [
    END,
    *(f"wait:{steps}" for steps in LENGTHS),
    *(f"len:{steps}" for steps in LENGTHS),
    *(f"note:{pitch}" for pitch in range(PITCH_COUNT)),
    *(f"loud:{degree}" for degree in range(1, DEGREES + 1)),
]
_END_ID, _FIRST_WAIT = 0, 1
_FIRST_LENGTH = _FIRST_WAIT + len(LENGTHS)
_FIRST_NOTE = _FIRST_LENGTH + len(LENGTHS)
_FIRST_DEGREE = _FIRST_NOTE + PITCH_COUNT
_LONGEST_WAIT = _FIRST_LENGTH - 1
_AS_ARRAY = np.array(_TOKENS, object)

_VALUES = np.array(LENGTHS)
# Kinds of tokens, and those that may follow each.
_FOLLOWERS = {
    END: {"wait", "loud", "note"},
    "wait": {"wait", "loud", "note"},
    "loud": {"note"},
    "note": {"len"},
    "len": {"wait", "loud", "note", END},
}


class TimedTokenizer:
    """Waits, pitches and lengths.

    Implements `jaxmusic.tokenizers.tokenizer.Tokenizer`.
    """

    version = 1
    end_token = END

    def __init__(self, *, grid: int = 12, loudness: bool = False) -> None:
        """A scheme whose step is one `grid`-th of a quarter, 12 or 48."""
        self.name = "timed" + ("" if grid == 12 else f"-{grid}") + ("-loud" if loudness else "")
        self._grid = grid
        self._loudness = loudness
        count = len(_TOKENS) if loudness else _FIRST_DEGREE
        self._ids = {token: number for number, token in enumerate(_TOKENS[:count])}

    def encode(self, score: MidiScore) -> list[str]:
        """The tokens of a file; none if only drums have notes, or no note ever ends.

        Raises MidiError for a file without any note-on, and when the last note begins after
        `grid_notes.MAX_QUARTERS`.
        """
        return self.encode_counted(score)[0]

    def encode_counted(self, score: MidiScore) -> tuple[list[str], dict[str, int]]:
        """The tokens of a file, and numbers of its notes.

        Those "read" are all but the ones "of drums". Of them, some are "without end" and left out
        too, some "merged" into another one of the same onset and pitch, and some "cut", where their
        pitch begins again or at the longest length.
        """
        if not any(track.has_note_on for track in score.tracks):
            raise MidiError("it has no notes")
        notes, counts = grid_notes(score, self._grid, pedal=self._grid == 48)
        if not len(notes.onsets):
            return [], counts
        tokens: list[str] = _AS_ARRAY[_ids_of(notes, loudness=self._loudness)].tolist()
        return tokens, counts

    def decode(self, tokens: Sequence[str], *, step: float = 0) -> list[list[Note]]:
        """The notes of any tokens, in one track; `step` is ignored, as tokens have times.

        A note lasts as long as the `len` directly after it says; without one, as long as the note
        before it (the first one: a quarter). A `len` that no note precedes has no effect. `end`
        ends the song if it has notes; if it has none, the song begins there.

        Raises ValueError, naming it, for a token that the scheme does not have.
        """
        ticks = TICKS_PER_QUARTER // self._grid
        notes: list[Note] = []
        now = 0
        length = self._grid
        degree = _MIDDLE_DEGREE
        pending: int | None = None  # the pitch of a note that has no length yet
        for token in (*tokens, END):
            kind, value = self._parse(token)
            if pending is not None:
                if kind == "len":
                    length = value
                velocity = min(degree * _VELOCITIES_PER_DEGREE, 127)
                notes.append(Note(now * ticks, (now + length) * ticks, pending, velocity))
                pending = None
            if kind == "wait":
                now += value
            elif kind == "note":
                pending = value
            elif kind == "loud":
                degree = value
            elif kind == END:
                if notes:
                    break
                now = 0
        return [notes]

    def transpose(self, token: str, semitones: int) -> str | None:
        """The token of the same music, so many semitones higher; None if a pitch leaves MIDI's."""
        kind, value = self._parse(token)
        if kind != "note":
            return token
        pitch = value + semitones
        return f"note:{pitch}" if 0 <= pitch < PITCH_COUNT else None

    def check(self, token: str) -> None:
        """Raise ValueError, naming it, for a token that the scheme does not have."""
        self._parse(token)

    def fixed_vocabulary(self) -> list[str]:
        """All tokens, 281 or with loudness 289."""
        return list(self._ids)

    def kind(self, token: str) -> str:
        """One of "end", "wait", "len", "note" and "loud"."""
        return token.partition(":")[0]

    def may_follow(self, before: str, token: str) -> bool:
        """Whether the grammar allows it; between songs `end` follows `end`, but not inside one.

        Waits must be those of a file: the longest one that fits, then the rest.
        """
        (kind, value), (next_kind, next_value) = self._parse(before), self._parse(token)
        if kind == next_kind == "wait" and value < LONGEST:
            both = value + next_value
            return both < LONGEST and bool(LENGTHS[FLOOR_INDEX[both]] == value)
        return next_kind in _FOLLOWERS[kind]

    def _parse(self, token: str) -> tuple[str, int]:
        """The kind and the number of a token. Raises ValueError."""
        if token not in self._ids:
            raise ValueError(f"{token!r} is not a token of the scheme {self.name}")
        kind, _, number = token.partition(":")
        return kind, int(number or 0)


def _ids_of(notes: GridNotes, *, loudness: bool) -> Ints:
    """The numbers of a song's tokens."""
    gaps = np.diff(notes.onsets, prepend=0)
    whole, rest = np.divmod(gaps, LONGEST)
    first = FLOOR_INDEX[rest]
    second = FLOOR_INDEX[np.where(rest > 0, rest - _VALUES[first], 0)]
    has_first, has_second = first >= 0, second >= 0
    counts = 2 + whole + has_first + has_second
    if loudness:
        degrees = np.clip(
            (notes.velocities + _VELOCITIES_PER_DEGREE // 2) // _VELOCITIES_PER_DEGREE, 1, DEGREES
        )
        changes = np.diff(degrees, prepend=0) != 0
        counts += changes
    ends = 1 + np.cumsum(counts)  # each note's tokens are before this position

    ids = np.full(int(ends[-1]) + 1, _LONGEST_WAIT)
    ids[[0, -1]] = _END_ID
    ids[ends - 2] = _FIRST_NOTE + notes.pitches
    ids[ends - 1] = _FIRST_LENGTH + FLOOR_INDEX[notes.lengths]
    ends = ends - 2
    if loudness:
        ids[ends[changes] - 1] = _FIRST_DEGREE - 1 + degrees[changes]
        ends = ends - changes
    ids[ends[has_second] - 1] = _FIRST_WAIT + second[has_second]
    ends = ends - has_second
    ids[ends[has_first] - 1] = _FIRST_WAIT + first[has_first]
    return ids
