"""What a MIDI file is read into, what one is written from, and the errors of reading."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Kinds of meta events: the meta type byte, or the status byte of a program change.
PROGRAM = 0xC0
TEMPO = 0x51
TIME_SIGNATURE = 0x58
KEY_SIGNATURE = 0x59


class MidiError(ValueError):
    """A file can't be read as MIDI; the message is the reason, without the file's name."""


class NonconformingError(Exception):
    """A track breaks the MIDI standard; the lenient reader may still read it."""


class Note(NamedTuple):
    """A note to write: times in ticks, pitch a MIDI number (60 is middle C)."""

    start: int
    end: int
    pitch: int
    velocity: int = 80


class MetaEvent(NamedTuple):
    """A tempo, a time signature, a key signature, or a program change."""

    tick: int  # absolute
    kind: int  # PROGRAM, TEMPO, TIME_SIGNATURE or KEY_SIGNATURE
    value: int = 0  # the program; 0 for the others, of which only the position matters


class ChannelEvents(NamedTuple):
    """Note-ons, note-offs and controllers of a track, in file order; perhaps others of two bytes.

    A note-on of velocity 0 is a note-off.
    """

    ticks: npt.NDArray[np.int64]  # absolute
    statuses: npt.NDArray[np.int64]  # status bytes: the kind of event (0x80-0xE0) plus the channel
    first: npt.NDArray[np.int64]  # data bytes: the pitch, or the controller's number
    second: npt.NDArray[np.int64]  # the velocity, or the controller's value


NO_EVENTS = ChannelEvents(*np.empty((4, 0), np.int64))


class Track(NamedTuple):
    """A track that was read. Note k is (starts[k], ends[k], pitches[k]), in order of the starts.

    Times are absolute ticks, pitches MIDI numbers (60 is middle C).
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    pitches: npt.NDArray[np.int64]
    meta_events: list[MetaEvent]  # in file order
    has_note_on: bool  # also true if no note ever ended, and the arrays are empty
    events: ChannelEvents = NO_EVENTS  # from which notes may be paired in another way


class MidiScore(NamedTuple):
    """The content of a MIDI file: its tracks, their times in ticks."""

    ticks_per_quarter: int
    tracks: list[Track]
