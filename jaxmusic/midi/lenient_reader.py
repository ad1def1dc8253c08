"""Reads a MIDI track that may break the standard, in the way of music21 5.7.2.

The tokens of old files are defined by what music21 5.7.2 reads. A file that keeps to the standard
is read by `strict_reader`.
"""

import numpy as np
import numpy.typing as npt

from jaxmusic.midi.messages import KEPT_META_TYPES, META, SYSEX, SYSEX_CONTINUED, number_at
from jaxmusic.midi.parse_budget import ParseBudget
from jaxmusic.midi.types import PROGRAM, ChannelEvents, MetaEvent, MidiError, Track

# The meta types that music21 5.7.2 knows. At any other it loses its place (see read_lenient_track).
_KNOWN_META_TYPES = frozenset((*range(0x0A), 0x20, 0x21, 0x2F, 0x51, 0x54, 0x58, 0x59, 0x7F))

Ints = npt.NDArray[np.int64]


def read_lenient_track(  # noqa: PLR0912 - a call for each event would cost more than its work
    data: bytes, position: int, end: int, budget: ParseBudget
) -> Track:
    """Read the track in the bytes of `data` from `position` up to `end`.

    Data bytes may be above 127 (such a pitch sounds in the top octave). Running status has no
    exceptions: it repeats a meta or system exclusive event as well, and is a note-on before any
    status byte. At an unknown status byte or meta type the reader forgets the time since the last
    event, and reads that very byte as the next delta time. A lone byte at the end is not an event.

    Raises MidiError when an event is cut off by the end of the track, a number is too large, or the
    budget is spent.
    """
    notes: list[list[int]] = []  # start, end, pitch
    meta_events: list[MetaEvent] = []
    events: list[tuple[int, int, int, int]] = []
    sounding: dict[tuple[int, int], list[int]] = {}  # (channel, pitch) -> the note
    data = data[position:end]
    position, end = 0, len(data)
    now = 0
    running = 0x90
    try:
        while position < end:
            budget.count_other()
            delta, position = number_at(data, position)
            if end - position < 2:
                break
            after_delta = position
            status = data[position]
            if status >= 0x80:
                position += 1
            else:
                status = running
            if status in (SYSEX, SYSEX_CONTINUED):
                size, position = number_at(data, position)
                position += size
            elif status == META:
                kind = data[position]
                if kind not in _KNOWN_META_TYPES:
                    position = after_delta
                    continue
                size, position = number_at(data, position + 1)
                position += size
                if kind in KEPT_META_TYPES:
                    budget.count_meta()
                    meta_events.append(MetaEvent(now + delta, kind))
            elif status >= 0xF0:
                position = after_delta
                continue
            elif 0xC0 <= status < 0xE0:
                if status < 0xD0:
                    budget.count_meta()
                    meta_events.append(MetaEvent(now + delta, PROGRAM, data[position]))
                position += 1
            else:
                pitch, velocity = data[position], data[position + 1]
                position += 2
                if status < 0xC0:
                    events.append((now + delta, status, pitch, velocity))
                if status < 0xA0:
                    note = sounding.pop((status & 15, pitch), None)
                    if note is not None:
                        note[1] = now + delta
                    elif velocity and status >= 0x90:
                        notes.append([now + delta, -1, pitch])
                        sounding[status & 15, pitch] = notes[-1]
            running = status
            now += delta
    except IndexError:
        raise MidiError("a track ends in the middle of an event") from None
    return _to_track(notes, meta_events, events)


def _to_track(
    notes: list[list[int]], meta_events: list[MetaEvent], events: list[tuple[int, int, int, int]]
) -> Track:
    """Make a track of the notes (start, end, pitch) that ended, and of all events."""
    ended = [note for note in notes if note[1] >= 0]
    starts, ends, pitches = np.array(ended, np.int64).reshape(-1, 3).T
    ticks, statuses, first, second = np.array(events, np.int64).reshape(-1, 4).T
    first = np.where(statuses < 0xA0, _in_top_octave(first), first)
    second = np.minimum(second, 127)
    return Track(
        starts,
        ends,
        _in_top_octave(pitches),
        meta_events,
        bool(notes),
        ChannelEvents(ticks, statuses, first, second),
    )


def _in_top_octave(pitches: Ints) -> Ints:
    """Move pitch numbers above 127 down by octaves to 115-126."""
    return np.where(pitches < 128, pitches, 115 + (pitches - 115) % 12)
