"""The tracks of a MIDI file that keeps to the standard, read a run of events at a time.

Nearly all events of a file are notes, controllers and bends: a delta time, a status that may be
left out, two data bytes. Such runs are found by a regular expression and read by array operations,
those of all tracks at once; only what stands between them is read event by event.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmusic.midi.lenient_reader import (
    LONGEST_NUMBER,
    MARKING_METAS,
    META,
    PROGRAM,
    Mark,
    NonconformingError,
    Track,
    after_running_system,
    after_system,
    number_at,
)
from jaxmusic.midi.parse_budget import Effort

_DELTA, _STATUS, _DATA = rb"[\x80-\xff]{0,3}+[\x00-\x7f]", rb"[\x80-\xbf\xe0-\xef]", rb"[\x00-\x7f]"
_RUN = re.compile(b"(?:%b%b?+%b{2})++" % (_DELTA, _STATUS, _DATA))
_HIGH = bytes(range(0x80, 0x100))

_KEYS = 1 << 11  # channels times pitches
_CHANNEL_KEYS = 1 << 7

Ints = npt.NDArray[np.int64]
_NOTHING: Ints = np.empty(0, np.int64)


class _Run(NamedTuple):
    """Events of two data bytes in a row."""

    start: int  # bytes of the file
    end: int
    track: int
    wait: int  # ticks before its first event besides that event's own


class _Moment(NamedTuple):
    """What stands between runs and is a mark."""

    track: int
    run: int  # the last run before it, of any track
    wait: int  # ticks since that run, or since the beginning of the track
    kind: int
    value: int


def read_tracks(
    data: bytes,
    chunks: Sequence[tuple[int, int]],
    check_meta: Callable[[int, bytes], None],
    effort: Effort,
) -> list[Track]:
    """The tracks whose events are the bytes of `data` between each two positions.

    A note is ended by the next note event of its pitch and channel, be it on or off. That event is
    then used up: a note struck again while it sounds ends there and no new one begins. A note-on
    of velocity 0 is a note-off. Notes that are never ended are left out.

    `check_meta(kind, data)` raises NonconformingError for a meta event that mido refuses.
    Raises NonconformingError for any track that mido refuses, MidiError when it is too much work.
    """
    runs: list[_Run] = []
    moments: list[_Moment] = []
    for number, (start, end) in enumerate(chunks):
        if end > len(data):
            raise NonconformingError
        try:
            _scan(data, start, end, number, runs, moments, check_meta, effort)
        except IndexError:
            raise NonconformingError from None
    return _tracks(data, len(chunks), runs, moments, effort)


def _scan(  # noqa: PLR0912 - a call for each event would cost more than its work
    data: bytes,
    position: int,
    end: int,
    track: int,
    runs: list[_Run],
    moments: list[_Moment],
    check_meta: Callable[[int, bytes], None],
    effort: Effort,
) -> None:
    """Find a track's runs, and read what stands between them."""
    wait = 0
    running = 0  # the last status byte; meta events leave it alone
    while position < end:
        begin = position
        delta = data[position]
        position += 1
        if delta >= 0x80:
            delta, position = number_at(data, begin)
            begin = position - 1  # a run has only its last byte, however many there are
            wait += delta & ~0x7F
            delta &= 0x7F
        status = data[position]
        if status >= 0x80:
            position += 1
        else:
            status = running
        if status < 0xC0 or 0xE0 <= status < 0xF0:  # two data bytes
            run = _RUN.match(data, begin, end) if status else None
            if run is None:
                raise NonconformingError  # one is missing or above 127; or there is no status yet
            effort.single()
            runs.append(_Run(begin, run.end(), track, wait))
            position = run.end()
            wait = 0
            running = 0x80  # some status of two data bytes; which, is seen later
            continue
        wait += delta
        if status < 0xE0:  # program, channel pressure: one data byte
            running = status
            if data[position] > 0x7F:
                raise NonconformingError
            if status < 0xD0:
                effort.mark()
                moments.append(_Moment(track, len(runs) - 1, wait, PROGRAM, data[position]))
            else:
                effort.events(1)  # they are many where there are any, and nothing is kept of them
            position += 1
        elif status == META:
            kind = data[position]
            size = data[position + 1]
            position += 2
            if size >= 0x80:
                size, position = number_at(data, position - 1)
            check_meta(kind, data[position : position + size])
            position += size
            if kind not in MARKING_METAS:
                effort.single()
            else:
                effort.mark()
                moments.append(_Moment(track, len(runs) - 1, wait, kind, 0))
        elif data[position - 1] == status:
            effort.single()
            running = status
            position = after_system(data, position, status)
        else:
            effort.single()
            position = after_running_system(data, position, running)
    if position != end:
        raise NonconformingError


def _tracks(
    data: bytes, count: int, runs: Sequence[_Run], moments: Sequence[_Moment], effort: Effort
) -> list[Track]:
    """All tracks, out of their runs and of what is between."""
    marks: list[list[Mark]] = [[] for _ in range(count)]
    if not runs:
        for moment in moments:
            marks[moment.track].append(Mark(moment.wait, moment.kind, moment.value))
        return [Track(_NOTHING, _NOTHING, _NOTHING, each, False) for each in marks]

    begins, delta, status, first, second = _events(data, runs, effort)
    delta[begins] += [run.wait for run in runs]
    when = np.cumsum(delta)
    # Each track begins at 0: take off what the tracks before it lasted.
    run_tracks = np.array([run.track for run in runs])
    before = np.concatenate([[0], when[begins[1:] - 1]])
    opening = np.concatenate([[True], run_tracks[1:] != run_tracks[:-1]])
    before = before[opening][np.cumsum(opening) - 1]
    sizes = np.diff(begins, append=len(when))
    when -= np.repeat(before, sizes)
    event_tracks = np.repeat(run_tracks, sizes)

    run_ends = when[begins + sizes - 1].tolist()
    for moment in moments:
        follows = moment.run >= 0 and runs[moment.run].track == moment.track
        tick = moment.wait + (run_ends[moment.run] if follows else 0)
        marks[moment.track].append(Mark(tick, moment.kind, moment.value))

    notes = np.flatnonzero(status < 0xA0)  # note off, note on
    when, first, event_tracks = when[notes], first[notes], event_tracks[notes]
    channel = status[notes] & 15
    starts, ends = _pair(
        event_tracks * _KEYS + channel * _CHANNEL_KEYS + first,
        (status[notes] >= 0x90) & (second[notes] > 0),
    )
    sounding = np.bincount(event_tracks[starts], minlength=count)
    starts, ends = starts[ends >= 0], ends[ends >= 0]
    stops = np.searchsorted(event_tracks[starts], np.arange(count + 1)).tolist()
    starts, ends, pitches = when[starts], when[ends], first[starts]
    return [
        Track(starts[begin:stop], ends[begin:stop], pitches[begin:stop], track_marks, sounds > 0)
        for begin, stop, track_marks, sounds in zip(
            stops[:-1], stops[1:], marks, sounding.tolist(), strict=True
        )
    ]


def _events(
    data: bytes, runs: Sequence[_Run], effort: Effort
) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Where each run's events begin, and of all events delta times, status and data bytes.

    An event has just three bytes below 128: the last one of its delta time and its data. All else
    is found from where those are.
    """
    joined = b"".join([data[run.start : run.end] for run in runs])
    effort.events(len(joined.translate(None, _HIGH)) // 3)
    values = np.frombuffer(joined, np.uint8)
    low = np.flatnonzero(values < 0x80).reshape(-1, 3)
    place, data_place = low[:, 0], low[:, 1]
    events = values[low].astype(np.int64)

    delta = events[:, 0]
    longer = place.copy()  # bytes of the delta but one
    longer[1:] -= low[:-1, 2] + 1
    for more in range(1, LONGEST_NUMBER):
        has_more = np.flatnonzero(longer >= more)
        if not len(has_more):
            break
        digits = values[place[has_more] - more] & np.int64(0x7F)
        delta[has_more] += digits << 7 * more

    # Where the status is left out the last one counts.
    told = np.where(data_place - place == 2, np.arange(len(low)), 0)
    status = values[place[np.maximum.accumulate(told)] + 1].astype(np.int64)

    sizes = [run.end - run.start for run in runs]
    begins = np.searchsorted(place, np.cumsum([0, *sizes[:-1]]))
    return begins, delta, status, events[:, 1], events[:, 2]


def _pair(keys: Ints, is_on: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Note events that begin a note, in order, and of each the one that ends it; -1 if none does.

    Of the events of one key, a note-on after a note-off (or first of all) begins a note, and the
    next one of whatever kind ends it. So the first, third, fifth, ... of note-ons in a row begin.
    """
    small = keys.astype(np.uint16) if not len(keys) or keys.max() < 1 << 16 else keys
    order = np.argsort(small, kind="stable")
    keys, is_on = keys[order], is_on[order]
    same_key = keys[1:] == keys[:-1]
    places = np.arange(len(keys))
    restarts = np.ones(len(keys), np.bool_)
    restarts[1:] = ~(same_key & is_on[:-1])
    in_row = places - np.maximum.accumulate(np.where(restarts, places, 0))
    begins = np.flatnonzero(is_on & (in_row % 2 == 0))
    enders = np.full(len(keys), -1)
    if len(keys):
        enders[:-1][same_key] = order[1:][same_key]
    found = np.full(len(keys), -2)  # by the event: who ends it, -2 for one that begins nothing
    found[order[begins]] = enders[begins]
    starts = np.flatnonzero(found > -2)
    return starts, found[starts]
