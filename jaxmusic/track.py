"""The bytes of one MIDI track as notes and marks, read in one pass.

There are two readers. `read_track` takes what the MIDI file standard allows (and the few liberties
that mido allows), and nothing else. `read_loose_track` takes nearly anything, with the meaning
that music21 5.7.2 finds in it: the token stream of old files is defined by that reading.
"""

from collections.abc import Callable
from typing import NamedTuple

# Kinds of marks: what a track says besides notes that has a bearing on the tokens.
PROGRAM = 0xC0
TEMPO = 0x51
TIME_SIGNATURE = 0x58
KEY_SIGNATURE = 0x59

_SYSEX, _SYSEX_CONTINUED, _META = 0xF0, 0xF7, 0xFF
_MARKING_METAS = frozenset((TEMPO, TIME_SIGNATURE, KEY_SIGNATURE))
# Data bytes of the other system messages. They don't belong in a file, but mido lets them pass.
_SYSTEM_SIZES = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}
# The meta events that music21 5.7.2 knows. Any other derails it (see read_loose_track).
_LOOSE_METAS = frozenset((*range(0x0A), 0x20, 0x21, 0x2F, 0x51, 0x54, 0x58, 0x59, 0x7F))
_LONGEST_NUMBER = 4  # bytes of a variable-length number, by the standard


class MidiError(ValueError):
    """A file that can't be read as MIDI; the text is the reason, without the file's name."""


class NonconformingError(Exception):
    """The track is not what the standard says; the loose reader may still make sense of it."""


class Mark(NamedTuple):
    """A program change or one of three meta events, at an absolute tick."""

    tick: int
    kind: int  # PROGRAM, TEMPO, TIME_SIGNATURE or KEY_SIGNATURE
    value: int = 0  # the program; 0 for the others, of which only the position matters


class Track(NamedTuple):
    """One track. Note k is (starts[k], ends[k], pitches[k]); notes stand in the order they begin.

    Times are absolute ticks, pitches MIDI numbers (60 is middle C). `sounds` tells whether there
    is a note-on at all: its note is missing above when nothing ever ended it.
    """

    starts: list[int]
    ends: list[int]
    pitches: list[int]
    marks: list[Mark]  # in file order
    sounds: bool


def read_track(  # noqa: PLR0912, PLR0915 - a call for each event would cost more than its work
    data: bytes, position: int, end: int, check_meta: Callable[[int, bytes], None]
) -> Track:
    """The track whose events are the bytes of `data` from `position` up to `end`.

    A note is ended by the next note event of its pitch and channel, be it on or off. That event is
    then used up: a note struck again while it sounds ends there and no new one begins. A note-on
    of velocity 0 is a note-off. Notes that are never ended are left out.

    `check_meta(kind, data)` raises NonconformingError for a meta event that mido refuses.
    Raises NonconformingError for any track that mido refuses.
    """
    starts: list[int] = []
    ends: list[int] = []
    pitches: list[int] = []
    marks: list[Mark] = []
    sounding = [-1] * 2048  # (channel, pitch) -> place of the note that sounds, or -1
    now = 0
    running = 0  # the last status byte; meta events leave it alone
    try:
        while position < end:
            byte = data[position]
            position += 1
            if byte < 0x80:
                now += byte
            else:
                delta, position = _number(data, position - 1)
                now += delta
            status = data[position]
            if status >= 0x80:
                position += 1
            else:
                if not running:
                    raise NonconformingError
                status = running
                if status >= 0xF0:
                    position = _after_running_system(data, position, status)
                    continue
            if status < 0xA0:  # note off, note on
                running = status
                pitch = data[position]
                velocity = data[position + 1]
                position += 2
                if (pitch | velocity) > 0x7F:
                    raise NonconformingError
                key = (status & 15) << 7 | pitch
                place = sounding[key]
                if place >= 0:
                    ends[place] = now
                    sounding[key] = -1
                elif velocity and status >= 0x90:
                    sounding[key] = len(starts)
                    starts.append(now)
                    ends.append(-1)
                    pitches.append(pitch)
            elif status < 0xF0:
                running = status
                if 0xC0 <= status < 0xE0:  # program, channel pressure: one data byte
                    value = data[position]
                    position += 1
                    if status < 0xD0:
                        marks.append(Mark(now, PROGRAM, value))
                else:
                    value = data[position] | data[position + 1]
                    position += 2
                if value > 0x7F:
                    raise NonconformingError
            elif status == _META:
                kind = data[position]
                size, position = _number(data, position + 1)
                check_meta(kind, data[position : position + size])
                position += size
                if kind in _MARKING_METAS:
                    marks.append(Mark(now, kind))
            else:
                running = status
                position = _after_system(data, position, status)
    except IndexError:
        raise NonconformingError from None
    if position != end or position > len(data):
        raise NonconformingError
    return _without_endless(starts, ends, pitches, marks)


def read_loose_track(  # noqa: PLR0912 - to be read beside the one above
    data: bytes, position: int, end: int
) -> Track:
    """The same for a track that breaks the rules, as music21 5.7.2 reads it.

    Data bytes may be above 127 (such a pitch sounds in the top octave). Running status has no
    exceptions: it repeats a meta or system exclusive event as well, and stands for a note-on when
    nothing came before. At a status byte or a meta event that it doesn't know the reader forgets
    the time since the last event and goes on with that very byte as the next delta time. A lone
    byte at the end is no event.

    Raises MidiError when an event is cut off by the end of the track, or a number is too long.
    """
    starts: list[int] = []
    ends: list[int] = []
    pitches: list[int] = []
    marks: list[Mark] = []
    sounding: dict[tuple[int, int], int] = {}
    data = data[position:end]
    position, end = 0, len(data)
    now = 0
    running = 0x90
    try:
        while position < end:
            delta, position = _number(data, position)
            if end - position < 2:
                break
            after_delta = position
            status = data[position]
            if status >= 0x80:
                position += 1
            else:
                status = running
            if status in (_SYSEX, _SYSEX_CONTINUED):
                size, position = _number(data, position)
                position += size
            elif status == _META:
                kind = data[position]
                if kind not in _LOOSE_METAS:
                    position = after_delta
                    continue
                size, position = _number(data, position + 1)
                position += size
                if kind in _MARKING_METAS:
                    marks.append(Mark(now + delta, kind))
            elif status >= 0xF0:
                position = after_delta
                continue
            elif 0xC0 <= status < 0xE0:
                if status < 0xD0:
                    marks.append(Mark(now + delta, PROGRAM, data[position]))
                position += 1
            else:
                pitch, velocity = data[position], data[position + 1]
                position += 2
                if status < 0xA0:
                    place = sounding.pop((status & 15, pitch), None)
                    if place is not None:
                        ends[place] = now + delta
                    elif velocity and status >= 0x90:
                        sounding[status & 15, pitch] = len(starts)
                        starts.append(now + delta)
                        ends.append(-1)
                        pitches.append(pitch if pitch < 128 else _in_top_octave(pitch))
            running = status
            now += delta
    except IndexError:
        raise MidiError("a track ends in the middle of an event") from None
    except NonconformingError:
        raise MidiError(f"a number in a track has more than {_LONGEST_NUMBER} bytes") from None
    return _without_endless(starts, ends, pitches, marks)


def _number(data: bytes, position: int) -> tuple[int, int]:
    """The variable-length number at `position`, and the position after it."""
    value = 0
    for place in range(position, position + _LONGEST_NUMBER):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    raise NonconformingError


def _after_system(data: bytes, position: int, status: int) -> int:
    """The position after the system message whose data begin at `position`."""
    if status in (_SYSEX, _SYSEX_CONTINUED):
        size, position = _number(data, position)
        body = data[position : position + size].removeprefix(b"\xf0").removesuffix(b"\xf7")
    elif status in _SYSTEM_SIZES:
        size = _SYSTEM_SIZES[status]
        body = data[position : position + size]
    else:
        raise NonconformingError  # the standard defines no such status
    if not body.isascii():
        raise NonconformingError
    return position + size


def _after_running_system(data: bytes, position: int, status: int) -> int:
    """The same where the status is left out, which the standard forbids and mido lets pass."""
    if status in (_SYSEX, _SYSEX_CONTINUED):
        return _after_system(data, position + 1, status)  # mido drops the first byte
    if not _SYSTEM_SIZES[status]:
        raise NonconformingError
    return _after_system(data, position, status)


def _in_top_octave(pitch: int) -> int:
    """A pitch number above 127 moved down by octaves to 115-126."""
    return 115 + (pitch - 115) % 12


def _without_endless(
    starts: list[int], ends: list[int], pitches: list[int], marks: list[Mark]
) -> Track:
    sounds = bool(starts)
    if -1 in ends:
        ended = [place for place, end in enumerate(ends) if end >= 0]
        starts = [starts[place] for place in ended]
        pitches = [pitches[place] for place in ended]
        ends = [ends[place] for place in ended]
    return Track(starts, ends, pitches, marks, sounds)
