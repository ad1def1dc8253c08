"""The classic scheme: the tokens that music21 5.7.2 makes of a MIDI file's first instrument.

Each of a file's tracks that has notes goes through these steps:

1. Notes that begin and end together become chords (`classic_chords`).
2. All times are quantized to a grid of fourths and thirds of a quarter note (`quantize`).
3. In a track where notes begin together and end apart, notes are spread over voices, and those
   that fit into none are lost (`classic_voices`).
4. Of all tracks, the notes and chords of one instrument are selected (`_first_instrument`) and
   named in order of their onsets.

Tracks are used as they are in the file, whatever its format. They are not split by channel, and
channel 10 is not special. Pedals, controllers, bends and texts have no influence.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmusic.midi.types import (
    KEY_SIGNATURE,
    PROGRAM,
    TEMPO,
    TIME_SIGNATURE,
    MidiError,
    MidiScore,
    Note,
    Track,
)
from jaxmusic.midi.writer import TICKS_PER_QUARTER
from jaxmusic.tokenizers.classic_chords import CHORD, gather_chords
from jaxmusic.tokenizers.classic_voices import lost_notes, rounds_up
from jaxmusic.tokenizers.instruments import PROGRAM_NAMES
from jaxmusic.tokenizers.pitch_names import chord_name, pitch_name, pitches_of, transpose_token

# The grid within a quarter note, in twelfths of it: its fourths and its thirds.
_GRID = np.array([0, 3, 4, 6, 8, 9, 12])
_MIDDLES_IN_24THS = _GRID[:-1] + _GRID[1:]  # half way between two grid points

Ints = npt.NDArray[np.int64]


class ClassicTokenizer:
    """One token a note ("C4") or chord ("0.4.7", its pitch classes), without times.

    Implements `jaxmusic.tokenizers.tokenizer.Tokenizer`.
    """

    name = "classic"
    version = 2
    end_token = None

    def encode(self, score: MidiScore) -> list[str]:
        """The tokens of a file; none if no note of the first instrument ever ends.

        Raises MidiError for a file without any note-on.
        """
        tracks = [track for track in score.tracks if track.has_note_on]
        if not tracks:
            raise MidiError("it has no notes")
        sounds = _first_instrument(_to_parts(score, tracks))
        return list(map(_NAMES.__getitem__, sounds.tolist()))

    def encode_counted(self, score: MidiScore) -> tuple[list[str], dict[str, int]]:
        """The tokens of a file; nothing is counted."""
        return self.encode(score), {}

    def decode(self, tokens: Sequence[str], *, step: float) -> list[list[Note]]:
        """The notes of tokens that begin `step` quarters apart and last one quarter each.

        Tokens that sound at the same time are in separate tracks, so that a pitch that starts again
        does not cut the one before. Raises ValueError, naming it, for an invalid token.
        """
        tracks: list[list[Note]] = [[] for _ in range(min(len(tokens), math.ceil(1 / step)))]
        for index, token in enumerate(tokens):
            start = round(index * step * TICKS_PER_QUARTER)
            end = start + TICKS_PER_QUARTER
            tracks[index % len(tracks)] += [Note(start, end, pitch) for pitch in pitches_of(token)]
        return tracks

    def transpose(self, token: str, semitones: int) -> str | None:
        """The token of the same music, so many semitones higher; None if a pitch leaves MIDI's."""
        return transpose_token(token, semitones)

    def check(self, token: str) -> None:
        """Raise ValueError, naming it, for a token that is not a pitch or chord in normal order."""
        pitches_of(token)

    def fixed_vocabulary(self) -> None:
        """None: no music has all pitches and all sets of pitch classes."""

    def kind(self, token: str) -> str:
        """Either "chord" or "note"."""
        return "chord" if token[0].isdigit() else "note"

    def may_follow(self, before: str, token: str) -> bool:
        """True: any token may follow any other."""
        return True


class _Part(NamedTuple):
    """A track on the grid: times in twelfths of a quarter note, all in order of time."""

    onsets: Ints
    lengths: Ints
    sounds: Ints  # see `classic_chords`
    programs: list[tuple[int, str | None]]  # (onset, name of the instrument)
    end: int


class _Names(dict[int, str]):
    """The names of sounds, each computed when it is first used."""

    def __missing__(self, sound: int) -> str:
        name = chord_name(sound - CHORD) if sound >= CHORD else pitch_name(sound)
        self[sound] = name
        return name


_NAMES = _Names()


def quantize(ticks: Sequence[int] | Ints, ticks_per_quarter: int) -> Ints:
    """Move each time to the nearest multiple of 1/4 or 1/3 quarter; in twelfths of a quarter.

    A time half way between two grid points moves to the earlier one.
    """
    quarters, rest = np.divmod(np.asarray(ticks, np.int64), ticks_per_quarter)
    nearest = np.searchsorted(_MIDDLES_IN_24THS * ticks_per_quarter, 24 * rest)
    return np.asarray(12 * quarters + _GRID[nearest], dtype=np.int64)


def _to_parts(score: MidiScore, tracks: Iterable[Track]) -> list[_Part]:
    """Put the tracks that have notes on the grid.

    A part's end is the latest of its notes' ends (not those of lost notes) and of its program,
    tempo, key and time changes. The time and key changes of tracks without notes count in every
    part as well, and their tempo changes in the first.
    """
    silent = [meta for track in score.tracks if not track.has_note_on for meta in track.meta_events]
    shared = [meta.tick for meta in silent if meta.kind in (TIME_SIGNATURE, KEY_SIGNATURE)]
    tempos = [meta.tick for meta in silent if meta.kind == TEMPO]

    # All tracks are quantized in one call: one for each track would cost much more.
    gathered = [gather_chords(track, score.ticks_per_quarter) for track in tracks]
    ticks = []
    for track, notes in zip(tracks, gathered, strict=True):
        ticks += [notes.onsets, notes.lengths, [meta.tick for meta in track.meta_events]]
    ends = [max(shared, default=0), max(tempos, default=0)]
    times = quantize(np.concatenate([*ticks, ends]).astype(np.int64), score.ticks_per_quarter)

    shared_end, tempo_end = times[-2:].tolist()
    parts: list[_Part] = []
    position = 0
    for track, notes in zip(tracks, gathered, strict=True):
        middle = position + len(notes.onsets)
        stop = middle + len(notes.lengths)
        onsets, lengths = times[position:middle], times[middle:stop]
        position = stop + len(track.meta_events)
        meta_onsets = times[stop:position].tolist()
        sounds = notes.sounds
        if notes.needs_voices and (lost := lost_notes(onsets, lengths)):
            onsets, lengths, sounds = (np.delete(each, lost) for each in (onsets, lengths, sounds))
        end = max(
            int((onsets + lengths).max(initial=0)),
            max(meta_onsets, default=0),
            shared_end,
            0 if parts else tempo_end,
        )
        programs = [
            (onset, PROGRAM_NAMES.get(meta.value))
            for onset, meta in zip(meta_onsets, track.meta_events, strict=True)
            if meta.kind == PROGRAM
        ]
        parts.append(_Part(onsets, lengths, sounds, programs, end))
    return parts


def _first_instrument(parts: list[_Part]) -> Ints:
    """The sounds of the first instrument, by onset; ties by track, then in the track's order.

    The first instrument is that of the first program change in the first track that has any. In
    each track that has a program of its name, the notes from that program change to the next one
    count. Notes before a track's first program change don't count, and in a file without any
    program change all notes do.
    """
    names = [name for part in parts for _, name in part.programs[:1]]
    selected = [_notes_of(part, names[0]) if names else slice(None) for part in parts]
    pairs = list(zip(parts, selected, strict=True))
    onsets = np.concatenate([part.onsets[notes] for part, notes in pairs])
    sounds = np.concatenate([part.sounds[notes] for part, notes in pairs])
    if len(parts) > 1 or names:
        return sounds[np.argsort(onsets, kind="stable")]
    return sounds


def _notes_of(part: _Part, name: str | None) -> Ints | slice:
    """Indices of the part's notes that begin in a span of the named instrument.

    A span ends at the next program change, the last one at the part's end. A span of length 0 has
    only notes of length 0, and not even these where music21's comparison of a rounded with an exact
    time makes the span longer.
    """
    if not part.programs:
        return slice(0)
    whole = part.programs[0] == (0, name) and len(part.programs) == 1
    if whole and len(part.onsets) and part.onsets[-1] < part.end:
        return slice(None)
    onsets, lengths = part.onsets.tolist(), part.lengths.tolist()
    indices: dict[int, None] = {}  # a note of length 0 may be in two spans, and counts once
    spans = zip(part.programs, (*part.programs[1:], (part.end, None)), strict=True)
    last_empty = -1
    for (start, instrument), (end, _) in spans:
        if instrument != name:
            continue
        first = bisect_left(onsets, start)
        if start < end:
            indices.update(dict.fromkeys(range(first, bisect_left(onsets, end))))
        elif start != last_empty and not rounds_up(start):  # once, however many changes there are
            last_empty = start
            stop = bisect_right(onsets, start)
            empty = (index for index in range(first, stop) if not lengths[index])
            indices.update(dict.fromkeys(empty))
    return np.array(list(indices), np.int64)
