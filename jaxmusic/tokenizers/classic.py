"""The `classic` token stream: what music21 5.7.2 makes of the first instrument of a MIDI file.

Each of a file's tracks that has notes goes through these steps:

1. Notes that begin and end together become chords (`gather`).
2. All times are put on a grid of quarters and thirds of a quarter note (`to_grid`).
3. In a track where notes begin together and end apart, notes are spread over voices, and those
   that fit into none are lost (`jaxmusic.tokenizers.classic_voices`).
4. Of all tracks, the notes and chords of one instrument are taken (`_take_first_part`) and named
   in order of their onsets.

Tracks are taken as they stand in the file, whatever its format. They are not split by channel,
and channel 10 is not special. Pedals, controllers, bends and texts have no influence.
"""

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
    Track,
)
from jaxmusic.tokenizers.classic_voices import lost_notes, rounds_up
from jaxmusic.tokenizers.instruments import PROGRAM_NAMES
from jaxmusic.tokenizers.pitch_names import CLASS_COUNT, PITCH_COUNT, chord_name, pitch_name

# Onsets and ends that are up to a sixteenth of a quarter note apart count as together.
_TOGETHER = 16

# The grid within a quarter note, in twelfths of it: its quarters and its thirds.
_GRID = np.array([0, 3, 4, 6, 8, 9, 12])
_MIDDLES_IN_24THS = _GRID[:-1] + _GRID[1:]  # where one point's share ends and the next begins

# What sounds is one int: a pitch, or for a chord this bit and the set of its pitch classes.
_CHORD = 1 << CLASS_COUNT
_CLASS_BITS = np.array([1 << pitch % CLASS_COUNT for pitch in range(PITCH_COUNT)])
_CLASS_BIT_LIST = _CLASS_BITS.tolist()


Ints = npt.NDArray[np.int64]


class Gathered(NamedTuple):
    """A track's notes and chords in ticks, in order of their onsets."""

    onsets: Ints
    lengths: Ints
    sounds: Ints
    needs_voices: bool


class _Part(NamedTuple):
    """A track on the grid: times in twelfths of a quarter note, all in order of time."""

    onsets: Ints
    lengths: Ints
    sounds: Ints
    programs: list[tuple[int, str | None]]  # (onset, name of the instrument)
    end: int


def classic_tokens(score: MidiScore) -> list[str]:
    """The tokens of a file: a note's name ("C4") or a chord's pitch classes ("0.4.7").

    May be empty, when no note of the first instrument ever ends. Raises MidiError for a file
    without any note-on.
    """
    sounding = [track for track in score.tracks if track.has_note_on]
    if not sounding:
        raise MidiError("it has no notes")
    sounds = _take_first_part(_to_parts(score, sounding))
    return list(map(_NAMES.__getitem__, sounds.tolist()))


class _Names(dict[int, str]):
    """The names of sounds, each made when it is first asked for."""

    def __missing__(self, sound: int) -> str:
        name = chord_name(sound - _CHORD) if sound >= _CHORD else pitch_name(sound)
        self[sound] = name
        return name


_NAMES = _Names()


def gather(track: Track, ticks_per_quarter: int) -> Gathered:
    """The track's notes, those that begin and end together gathered into chords.

    Notes are taken in the order they begin. Each that is in no chord yet is a head, and is
    compared with all later notes that begin at most 1/16 quarter after it: such a note joins it
    when their ends are at most 1/16 apart, even if it is in another chord already. If they are
    further apart, the track needs voices. A head that none joins stays a note.

    A chord begins with its head and lasts from the last member's onset to the head's end (which
    may come out below 0, and is then 0). A length of exactly 0 is made a quarter note.

    Notes that begin further apart than that know nothing of each other. So the notes are cut into
    clusters there, and where all notes of one are together it is one chord, or one note: those are
    made by array operations. The others are taken note by note.
    """
    starts, ends, pitches = (np.asarray(column, np.int64) for column in track[:3])
    if not len(starts):
        return Gathered(starts, starts, starts, False)
    reach = ticks_per_quarter // _TOGETHER
    firsts = np.concatenate([[0], (starts[1:] - starts[:-1] > reach).nonzero()[0] + 1])
    stops = np.concatenate([firsts[1:], [len(starts)]])
    sizes = stops - firsts
    last_onsets = starts[stops - 1]
    spread = np.maximum.reduceat(ends, firsts) - np.minimum.reduceat(ends, firsts)
    together = (spread <= reach) & (last_onsets - starts[firsts] <= reach)
    chords = _CHORD | np.bitwise_or.reduceat(_CLASS_BITS[pitches], firsts)
    sounds = np.where(sizes > 1, chords, pitches[firsts])

    needs_voices = False
    heads = firsts
    if not together.all():
        mixed = np.flatnonzero(np.repeat(~together, sizes))
        *columns, needs_voices = _gather_mixed(starts[mixed], ends[mixed], pitches[mixed], reach)
        mixed_heads, mixed_last_onsets, mixed_sounds = np.array(columns, np.int64)
        heads = np.concatenate([firsts[together], mixed[mixed_heads]])
        order = np.argsort(heads)
        heads = heads[order]
        last_onsets = np.concatenate([last_onsets[together], mixed_last_onsets])[order]
        sounds = np.concatenate([sounds[together], mixed_sounds])[order]
    lengths = ends[heads] - last_onsets
    lengths = np.where(lengths == 0, ticks_per_quarter, np.maximum(lengths, 0))
    return Gathered(starts[heads], lengths, sounds, needs_voices)


def _gather_mixed(
    starts: Ints, ends: Ints, pitches: Ints, reach: int
) -> tuple[list[int], list[int], list[int], bool]:
    """The same note by note: places of the heads, the last onset and the sound of each; voices.

    Heads that can still be joined have ends more than 1/16 apart, each from each, so they are
    kept sorted by their ends: a note is looked up there and not compared with all of them.
    """
    places: list[int] = []  # of the heads, as are the next four
    onsets: list[int] = []
    head_ends: list[int] = []
    last_onsets: list[int] = []  # of the last note that joined
    sounds: list[int] = []
    needs_voices = False
    open_ends: list[int] = []  # ends of the heads that can be joined, sorted
    open_heads: list[int] = []  # and their places above
    oldest = 0  # the first head that can be joined; they are the last of all heads
    horizon = -1  # the last tick at which a note can join a head
    notes = zip(starts.tolist(), ends.tolist(), pitches.tolist(), strict=True)
    for number, (start, end, pitch) in enumerate(notes):
        place = 0  # in open_ends, of the first head that ends after this note, or with it
        if start > horizon:
            if open_ends:
                open_ends.clear()
                open_heads.clear()
            oldest = len(onsets)
        else:
            while onsets[oldest] + reach < start:
                place = bisect_left(open_ends, head_ends[oldest])
                del open_ends[place], open_heads[place]
                oldest += 1
            place = bisect_left(open_ends, end - reach)
            joined = place
            while joined < len(open_ends) and open_ends[joined] <= end + reach:
                head = open_heads[joined]
                last_onsets[head] = start
                sound = sounds[head]
                if sound < _CHORD:
                    sound = _CHORD | _CLASS_BIT_LIST[sound]
                sounds[head] = sound | _CLASS_BIT_LIST[pitch]
                joined += 1
            if joined > place:
                continue
            needs_voices = True  # the open heads, at least one, end apart from this note
        open_ends.insert(place, end)
        open_heads.insert(place, len(onsets))
        places.append(number)
        onsets.append(start)
        head_ends.append(end)
        last_onsets.append(start)
        sounds.append(pitch)
        horizon = start + reach
    return places, last_onsets, sounds, needs_voices


def to_grid(ticks: Sequence[int] | Ints, ticks_per_quarter: int) -> Ints:
    """Each time in twelfths of a quarter note, at the nearest multiple of 1/4 or of 1/3 quarter.

    Half way between two such points the earlier one is taken.
    """
    quarters, rest = np.divmod(np.asarray(ticks, np.int64), ticks_per_quarter)
    nearest = np.searchsorted(_MIDDLES_IN_24THS * ticks_per_quarter, 24 * rest)
    return np.asarray(12 * quarters + _GRID[nearest], dtype=np.int64)


def _to_parts(score: MidiScore, sounding: Iterable[Track]) -> list[_Part]:
    """The sounding tracks on the grid.

    A part's end is the latest of its notes' ends (those of lost notes aside) and of its program,
    tempo, key and time changes. The time and key changes of tracks without notes count in every
    part as well, and their tempo changes in the first.
    """
    silent = [mark for track in score.tracks if not track.has_note_on for mark in track.meta_events]
    shared = [mark.tick for mark in silent if mark.kind in (TIME_SIGNATURE, KEY_SIGNATURE)]
    tempos = [mark.tick for mark in silent if mark.kind == TEMPO]

    # The grid costs little once a file, much once a track: all times go through it together.
    gathered = [gather(track, score.ticks_per_quarter) for track in sounding]
    ticks = []
    for track, notes in zip(sounding, gathered, strict=True):
        ticks += [notes.onsets, notes.lengths, [mark.tick for mark in track.meta_events]]
    ends = [max(shared, default=0), max(tempos, default=0)]
    times = to_grid(np.concatenate([*ticks, ends]).astype(np.int64), score.ticks_per_quarter)

    shared_end, tempo_end = times[-2:].tolist()
    parts: list[_Part] = []
    position = 0
    for track, notes in zip(sounding, gathered, strict=True):
        middle = position + len(notes.onsets)
        stop = middle + len(notes.lengths)
        onsets, lengths = times[position:middle], times[middle:stop]
        position = stop + len(track.meta_events)
        marks = times[stop:position].tolist()
        sounds = notes.sounds
        if notes.needs_voices and (lost := lost_notes(onsets, lengths)):
            onsets, lengths, sounds = (np.delete(each, lost) for each in (onsets, lengths, sounds))
        end = max(
            int((onsets + lengths).max(initial=0)),
            max(marks, default=0),
            shared_end,
            0 if parts else tempo_end,
        )
        programs = [
            (onset, PROGRAM_NAMES.get(mark.value))
            for onset, mark in zip(marks, track.meta_events, strict=True)
            if mark.kind == PROGRAM
        ]
        parts.append(_Part(onsets, lengths, sounds, programs, end))
    return parts


def _take_first_part(parts: list[_Part]) -> Ints:
    """What sounds while the first instrument plays, by onset; ties by track, then as in it.

    The first instrument is that of the first program change in the first track that has any.
    Whatever tracks have a program of its name, their notes count from that program change to the
    next in the same track. Notes before a track's first program change don't count, and in a file
    without any program change all notes do.
    """
    names = [name for part in parts for _, name in part.programs[:1]]
    taken = [_places_of(part, names[0]) if names else slice(None) for part in parts]
    onsets = np.concatenate([part.onsets[where] for part, where in zip(parts, taken, strict=True)])
    sounds = np.concatenate([part.sounds[where] for part, where in zip(parts, taken, strict=True)])
    if len(parts) > 1 or names:
        return sounds[np.argsort(onsets, kind="stable")]
    return sounds


def _places_of(part: _Part, name: str | None) -> Ints | slice:
    """Places of the part's notes that begin in a span of the named instrument.

    A span runs up to the next program change, the last one to the part's end. In a span of no
    length there are just the notes of no length, and not even these where music21's comparison
    of a rounded with an exact time takes the span for a longer one.
    """
    if not part.programs:
        return slice(0)
    whole = part.programs[0] == (0, name) and len(part.programs) == 1
    if whole and len(part.onsets) and part.onsets[-1] < part.end:
        return slice(None)
    onsets, lengths = part.onsets.tolist(), part.lengths.tolist()
    places: dict[int, None] = {}  # a note of no length may be in two spans, and counts once
    spans = zip(part.programs, (*part.programs[1:], (part.end, None)), strict=True)
    last_empty = -1
    for (start, instrument), (end, _) in spans:
        if instrument != name:
            continue
        first = bisect_left(onsets, start)
        if start < end:
            places.update(dict.fromkeys(range(first, bisect_left(onsets, end))))
        elif start != last_empty and not rounds_up(start):  # once, however many changes there are
            last_empty = start
            stop = bisect_right(onsets, start)
            empty = (place for place in range(first, stop) if not lengths[place])
            places.update(dict.fromkeys(empty))
    return np.array(list(places), np.int64)
