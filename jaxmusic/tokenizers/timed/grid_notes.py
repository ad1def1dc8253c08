"""A MIDI file's notes on a grid of equal steps, as the scheme `timed` has them.

The notes of all tracks become one part, those of drums (channel 10) are left out. A note-on begins
a note, and the next note event of its track, channel and pitch ends it. A note that none ends is
left out too.

- Onsets and ends move to the nearest step, so each by at most half a step; a time half way between
  two moves to the later one. A note lasts at least one step.
- Notes of one onset and pitch are merged: the longest end and the largest velocity count.
- A note whose pitch begins again before its end is cut there, as on a keyboard.
- Lengths are then one of `LENGTHS`: the nearest (of two, the shorter one), or the longest that ends
  before the pitch begins again.
- With the pedal, a note that ends while the sustain pedal of its channel is down, in any track,
  ends when that is released, or with the last note of the file if it never is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmusic.midi.types import NO_EVENTS, ChannelEvents, MidiError, MidiScore

# Lengths of notes, and parts of waits, in steps.
LENGTHS = (*range(1, 49), *range(60, 193, 12), *range(240, 961, 48))
LONGEST = LENGTHS[-1]
MAX_QUARTERS = 1_000_000  # before the last note: at most 50,000 longest waits
PITCH_COUNT = 128

_NOTE_ON, _CONTROLLER = 0x90, 0xB0
_SUSTAIN = 64  # the controller's number, and the least value at which the pedal is down
_PERCUSSION_CHANNEL = 9
_TRACKS_OF_16_BITS = (1 << 16) // (16 * PITCH_COUNT)
_MORE_THAN_ONSETS = 1 << 26  # than there are steps in MAX_QUARTERS, on any grid

Ints = npt.NDArray[np.int64]

_VALUES = np.array(LENGTHS)
_STEPS = np.arange(LONGEST + 1)
# By a number of steps: the index of the longest of LENGTHS that is not longer (-1: there is none),
# and the nearest of LENGTHS, the shorter one of two.
FLOOR_INDEX = np.searchsorted(_VALUES, _STEPS, "right") - 1
_NEAREST = _VALUES[np.searchsorted((_VALUES[:-1] + _VALUES[1:]) / 2, _STEPS)]


class GridNotes(NamedTuple):
    """Notes in order of their onsets, those of one onset from high to low. Times are in steps."""

    onsets: Ints
    lengths: Ints  # of LENGTHS
    pitches: Ints
    velocities: Ints


class _PlayedNotes(NamedTuple):
    """Notes of all tracks, by their keys. Times are in ticks."""

    starts: Ints
    ends: Ints
    pitches: Ints
    velocities: Ints
    channels: Ints


def grid_notes(
    score: MidiScore, steps_per_quarter: int, *, pedal: bool = False
) -> tuple[GridNotes, dict[str, int]]:
    """The notes of a file; and how many there are, and how many were changed or left out.

    Raises MidiError when the last note begins after MAX_QUARTERS.
    """
    sizes = [len(track.events.ticks) for track in score.tracks]
    columns = zip(*(track.events for track in score.tracks), strict=True)
    events = ChannelEvents(*map(np.concatenate, columns)) if sizes else NO_EVENTS
    played, counts = _pair(events, sizes)
    if not len(played.starts):
        return GridNotes(*np.empty((4, 0), np.int64)), counts
    last = int(played.starts.max()) // score.ticks_per_quarter
    if last > MAX_QUARTERS:
        raise MidiError(
            f"its last note begins after {last:,} quarters, more than {MAX_QUARTERS:,} quarters"
        )
    releases = _releases(events, played) if pedal else played.ends
    onsets, ends, stops = (
        to_steps(ticks, score.ticks_per_quarter, steps_per_quarter)
        for ticks in (played.starts, played.ends, releases)
    )

    # Merge notes of one onset, in order of pitches, and of onsets within a pitch.
    keys = played.pitches * _MORE_THAN_ONSETS + onsets
    order = np.argsort(keys)
    keys = keys[order]
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts["merged"] = len(keys) - len(firsts)
    ends, stops, velocities = (
        np.maximum.reduceat(column[order], firsts) for column in (ends, stops, played.velocities)
    )
    pitches, onsets = np.divmod(keys[firsts], _MORE_THAN_ONSETS)

    room = np.full(len(firsts), LONGEST)  # steps until the pitch begins again, up to LONGEST
    again = np.flatnonzero(pitches[1:] == pitches[:-1])
    room[again] = np.minimum(room[again], onsets[again + 1] - onsets[again])
    counts["cut"] = int((ends - onsets > room).sum())
    lengths = _NEAREST[np.clip(stops - onsets, 1, LONGEST)]
    lengths = np.minimum(lengths, _VALUES[FLOOR_INDEX[room]])

    order = np.argsort(onsets * PITCH_COUNT - pitches)
    return GridNotes(onsets[order], lengths[order], pitches[order], velocities[order]), counts


def to_steps(ticks: Ints, ticks_per_quarter: int, steps_per_quarter: int) -> Ints:
    """The nearest step to each time; of two, the later one."""
    quarters, rest = np.divmod(ticks, ticks_per_quarter)
    nearest = (2 * rest * steps_per_quarter + ticks_per_quarter) // (2 * ticks_per_quarter)
    steps: Ints = quarters * steps_per_quarter + nearest
    return steps


def _pair(events: ChannelEvents, sizes: Sequence[int]) -> tuple[_PlayedNotes, dict[str, int]]:
    """Pair each note-on with the event that ends it. `sizes` are the tracks' numbers of events."""
    ticks, statuses, first, second = events
    channels = statuses & 15
    is_note = statuses < _NOTE_ON + 16
    is_on = (statuses >= _NOTE_ON) & is_note & (second > 0)
    is_drum = channels == _PERCUSSION_CHANNEL
    notes = np.flatnonzero(is_note & ~is_drum)
    tracks = np.repeat(np.arange(len(sizes)), sizes)
    keys = ((tracks * 16 + channels) * PITCH_COUNT + first)[notes]
    small = keys.astype(np.uint16) if len(sizes) <= _TRACKS_OF_16_BITS else keys
    order = np.argsort(small, kind="stable")
    notes, keys = notes[order], keys[order]
    begins = is_on[notes]
    ended = begins[:-1] & (keys[1:] == keys[:-1])
    starts, ends = notes[:-1][ended], notes[1:][ended]
    counts = {
        "read": int(begins.sum()),
        "without end": int(begins.sum()) - len(starts),
        "of drums": int((is_on & is_drum).sum()),
    }
    played = _PlayedNotes(
        ticks[starts], ticks[ends], first[starts], second[starts], channels[starts]
    )
    return played, counts


def _releases(events: ChannelEvents, notes: _PlayedNotes) -> Ints:
    """The ends of notes, prolonged by the sustain pedal of their channels."""
    ends = notes.ends.copy()
    is_pedal = (events.statuses & 0xF0 == _CONTROLLER) & (events.first == _SUSTAIN)
    for channel in np.unique(events.statuses[is_pedal] & 15).tolist():
        mine = np.flatnonzero(is_pedal & (events.statuses & 15 == channel))
        mine = mine[np.argsort(events.ticks[mine], kind="stable")]  # of all tracks together
        is_down = events.second[mine] >= _SUSTAIN
        changes = np.flatnonzero(np.diff(is_down, prepend=False))  # down, up, down, ...
        ticks = np.append(events.ticks[mine][changes], notes.ends.max())
        is_mine = np.flatnonzero(notes.channels == channel)
        done = np.searchsorted(ticks[:-1], ends[is_mine], "right")  # changes up to the note's end
        held = is_mine[done % 2 == 1]
        ends[held] = np.maximum(ends[held], ticks[done[done % 2 == 1]])
    return ends
