"""One MIDI track as notes and marks, and the reader of tracks that break the rules.

There are two readers. `strict_reader` takes what the MIDI file standard allows (and the few
liberties that mido allows), and nothing else. `read_loose_track` takes nearly anything, with the
meaning that music21 5.7.2 finds in it: the token stream of old files is defined by that reading.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from jaxmusic.midi.parse_budget import Effort

# Kinds of marks: what a track says besides notes that has a bearing on the tokens.
PROGRAM = 0xC0
TEMPO = 0x51
TIME_SIGNATURE = 0x58
KEY_SIGNATURE = 0x59

_SYSEX, _SYSEX_CONTINUED, META = 0xF0, 0xF7, 0xFF
MARKING_METAS = frozenset((TEMPO, TIME_SIGNATURE, KEY_SIGNATURE))
# Data bytes of the other system messages. They don't belong in a file, but mido lets them pass.
_SYSTEM_SIZES = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}
# The meta events that music21 5.7.2 knows. Any other derails it (see read_loose_track).
_LOOSE_METAS = frozenset((*range(0x0A), 0x20, 0x21, 0x2F, 0x51, 0x54, 0x58, 0x59, 0x7F))
LONGEST_NUMBER = 4  # bytes of a variable-length number, by the standard
# More are read, as mido does, up to this value (five bytes after leading zeros): so large that a
# negative number of 32 bits passes, and so small that no sum in a file comes near 64 bits.
LARGEST_NUMBER = 2**35 - 1
_MOST_DIGITS = 5
_LEADING_ZEROS = re.compile(rb"\x80*")


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

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    pitches: npt.NDArray[np.int64]
    marks: list[Mark]  # in file order
    sounds: bool


def read_loose_track(  # noqa: PLR0912 - to be read beside the one above
    data: bytes, position: int, end: int, effort: "Effort"
) -> Track:
    """The track in the bytes of `data` from `position` up to `end`, as music21 5.7.2 reads it.

    Data bytes may be above 127 (such a pitch sounds in the top octave). Running status has no
    exceptions: it repeats a meta or system exclusive event as well, and stands for a note-on when
    nothing came before. At a status byte or a meta event that it doesn't know the reader forgets
    the time since the last event and goes on with that very byte as the next delta time. A lone
    byte at the end is no event.

    Raises MidiError when an event is cut off by the end of the track, a number is too large, or it
    is too much work.
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
            effort.single()
            delta, position = number_at(data, position)
            if end - position < 2:
                break
            after_delta = position
            status = data[position]
            if status >= 0x80:
                position += 1
            else:
                status = running
            if status in (_SYSEX, _SYSEX_CONTINUED):
                size, position = number_at(data, position)
                position += size
            elif status == META:
                kind = data[position]
                if kind not in _LOOSE_METAS:
                    position = after_delta
                    continue
                size, position = number_at(data, position + 1)
                position += size
                if kind in MARKING_METAS:
                    effort.mark()
                    marks.append(Mark(now + delta, kind))
            elif status >= 0xF0:
                position = after_delta
                continue
            elif 0xC0 <= status < 0xE0:
                if status < 0xD0:
                    effort.mark()
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
    return _without_endless(starts, ends, pitches, marks)


def number_at(data: bytes, position: int) -> tuple[int, int]:
    """The variable-length number at `position`, and the position after it.

    Raises MidiError when it is above LARGEST_NUMBER, IndexError when the data end within it.
    """
    value = 0
    for place in range(position, position + _MOST_DIGITS):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    if data[position] == 0x80:
        zeros = _LEADING_ZEROS.match(data, position)
        assert zeros is not None  # it matches nothing as well
        return number_at(data, zeros.end())
    raise MidiError(f"a number in a track is above {LARGEST_NUMBER:,}")


def after_system(data: bytes, position: int, status: int) -> int:
    """The position after the system message whose data begin at `position`."""
    if status in (_SYSEX, _SYSEX_CONTINUED):
        size, position = number_at(data, position)
        body = data[position : position + size].removeprefix(b"\xf0").removesuffix(b"\xf7")
    elif status in _SYSTEM_SIZES:
        size = _SYSTEM_SIZES[status]
        body = data[position : position + size]
    else:
        raise NonconformingError  # the standard defines no such status
    if not body.isascii():
        raise NonconformingError
    return position + size


def after_running_system(data: bytes, position: int, status: int) -> int:
    """The same where the status is left out, which the standard forbids and mido lets pass."""
    if status in (_SYSEX, _SYSEX_CONTINUED):
        return after_system(data, position + 1, status)  # mido drops the first byte
    if not _SYSTEM_SIZES[status]:
        raise NonconformingError
    return after_system(data, position, status)


def _in_top_octave(pitch: int) -> int:
    """A pitch number above 127 moved down by octaves to 115-126."""
    return 115 + (pitch - 115) % 12


def _without_endless(
    starts: list[int], ends: list[int], pitches: list[int], marks: list[Mark]
) -> Track:
    columns = np.array([starts, ends, pitches], np.int64)
    kept = columns[:, columns[1] >= 0]
    return Track(kept[0], kept[1], kept[2], marks, bool(starts))
