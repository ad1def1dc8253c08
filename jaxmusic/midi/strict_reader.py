"""Reads the tracks of a MIDI file that keeps to the standard, and to mido's few exceptions to it.

Nearly all events of a file are notes, controllers and bends: a delta time, an optional status byte,
two data bytes. A regular expression finds runs of such events, and array operations decode the runs
of all tracks at once. Only the events between them are read one by one.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmusic.midi.messages import (
    KEPT_META_TYPES,
    META,
    STANDARD_NUMBER_BYTES,
    number_at,
    skip_running_system,
    skip_system,
)
from jaxmusic.midi.parse_budget import ParseBudget
from jaxmusic.midi.types import PROGRAM, ChannelEvents, MetaEvent, NonconformingError, Track

_DELTA, _STATUS, _DATA = rb"[\x80-\xff]{0,3}+[\x00-\x7f]", rb"[\x80-\xbf\xe0-\xef]", rb"[\x00-\x7f]"
_RUN = re.compile(b"(?:%b%b?+%b{2})++" % (_DELTA, _STATUS, _DATA))
_HIGH = bytes(range(0x80, 0x100))

_KEYS_PER_TRACK = 1 << 11  # channels times pitches
_KEYS_PER_CHANNEL = 1 << 7

Ints = npt.NDArray[np.int64]
_EMPTY: Ints = np.empty(0, np.int64)


class _Run(NamedTuple):
    """Consecutive events of two data bytes each."""

    start: int  # position in the file, as is `end`
    end: int
    track: int
    extra_delta: int  # ticks before its first event, besides that event's own delta time


class _PendingMeta(NamedTuple):
    """A meta event between runs, before its absolute tick is known."""

    track: int
    run: int  # index of the last run before it, of any track
    delta: int  # ticks since that run, or since the beginning of the track
    kind: int
    value: int


def read_strict_tracks(
    data: bytes,
    chunks: Sequence[tuple[int, int]],
    check_meta: Callable[[int, bytes], None],
    budget: ParseBudget,
) -> list[Track]:
    """Read the tracks whose events are the bytes of `data` between each pair of positions.

    The next note event of its pitch and channel ends a note, whether it is a note-on or a note-off.
    That event then begins no note of its own. A note-on of velocity 0 is a note-off. Notes that
    never end are left out.

    `check_meta(kind, data)` raises NonconformingError for a meta event that mido refuses.
    Raises NonconformingError for any track that mido refuses, MidiError when the budget is spent.
    """
    runs: list[_Run] = []
    pending: list[_PendingMeta] = []
    for number, (start, end) in enumerate(chunks):
        if end > len(data):
            raise NonconformingError
        try:
            _scan(data, start, end, number, runs, pending, check_meta, budget)
        except IndexError:
            raise NonconformingError from None
    return _assemble(data, len(chunks), runs, pending, budget)


def _scan(  # noqa: PLR0912 - a call for each event would cost more than its work
    data: bytes,
    position: int,
    end: int,
    track: int,
    runs: list[_Run],
    pending: list[_PendingMeta],
    check_meta: Callable[[int, bytes], None],
    budget: ParseBudget,
) -> None:
    """Append a track's runs, and the meta events between them."""
    extra_delta = 0
    running = 0  # the last status byte; meta events leave it alone
    while position < end:
        begin = position
        delta = data[position]
        position += 1
        if delta >= 0x80:
            delta, position = number_at(data, begin)
            begin = position - 1  # a run includes only the last byte of its first delta time
            extra_delta += delta & ~0x7F
            delta &= 0x7F
        status = data[position]
        if status >= 0x80:
            position += 1
        else:
            status = running
        if status < 0xC0 or 0xE0 <= status < 0xF0:  # two data bytes
            run = _RUN.match(data, begin, end) if status else None
            if run is None:
                raise NonconformingError  # no status yet, or a data byte missing or above 127
            budget.count_other()
            runs.append(_Run(begin, run.end(), track, extra_delta))
            position = run.end()
            extra_delta = 0
            running = 0x80  # any status of two data bytes: `_decode` finds the actual one
            continue
        extra_delta += delta
        if status < 0xE0:  # program, channel pressure: one data byte
            running = status
            if data[position] > 0x7F:
                raise NonconformingError
            if status < 0xD0:
                budget.count_meta()
                pending.append(
                    _PendingMeta(track, len(runs) - 1, extra_delta, PROGRAM, data[position])
                )
            else:
                budget.count_events(1)  # a file that has any has many, and none is kept
            position += 1
        elif status == META:
            kind = data[position]
            size = data[position + 1]
            position += 2
            if size >= 0x80:
                size, position = number_at(data, position - 1)
            check_meta(kind, data[position : position + size])
            position += size
            if kind not in KEPT_META_TYPES:
                budget.count_other()
            else:
                budget.count_meta()
                pending.append(_PendingMeta(track, len(runs) - 1, extra_delta, kind, 0))
        elif data[position - 1] == status:
            budget.count_other()
            running = status
            position = skip_system(data, position, status)
        else:
            budget.count_other()
            position = skip_running_system(data, position, running)
    if position != end:
        raise NonconformingError


def _assemble(
    data: bytes,
    count: int,
    runs: Sequence[_Run],
    pending: Sequence[_PendingMeta],
    budget: ParseBudget,
) -> list[Track]:
    """Assemble the tracks from their runs and from the meta events between these."""
    meta_events: list[list[MetaEvent]] = [[] for _ in range(count)]
    if not runs:
        for meta in pending:
            meta_events[meta.track].append(MetaEvent(meta.delta, meta.kind, meta.value))
        return [Track(_EMPTY, _EMPTY, _EMPTY, each, False) for each in meta_events]

    begins, delta, status, first, second = _decode(data, runs, budget)
    delta[begins] += [run.extra_delta for run in runs]
    when = np.cumsum(delta)
    # Each track begins at tick 0: subtract the length of the tracks before it.
    run_tracks = np.array([run.track for run in runs])
    before = np.concatenate([[0], when[begins[1:] - 1]])
    opening = np.concatenate([[True], run_tracks[1:] != run_tracks[:-1]])
    before = before[opening][np.cumsum(opening) - 1]
    sizes = np.diff(begins, append=len(when))
    when -= np.repeat(before, sizes)
    event_tracks = np.repeat(run_tracks, sizes)

    run_ends = when[begins + sizes - 1].tolist()
    for meta in pending:
        follows = meta.run >= 0 and runs[meta.run].track == meta.track
        tick = meta.delta + (run_ends[meta.run] if follows else 0)
        meta_events[meta.track].append(MetaEvent(tick, meta.kind, meta.value))

    stops = np.searchsorted(event_tracks, np.arange(count + 1)).tolist()
    events = [
        ChannelEvents(when[begin:stop], status[begin:stop], first[begin:stop], second[begin:stop])
        for begin, stop in itertools.pairwise(stops)
    ]

    notes = np.flatnonzero(status < 0xA0)  # note off, note on
    when, first, event_tracks = when[notes], first[notes], event_tracks[notes]
    channel = status[notes] & 15
    starts, ends = _pair(
        event_tracks * _KEYS_PER_TRACK + channel * _KEYS_PER_CHANNEL + first,
        (status[notes] >= 0x90) & (second[notes] > 0),
    )
    sounding = np.bincount(event_tracks[starts], minlength=count)
    starts, ends = starts[ends >= 0], ends[ends >= 0]
    stops = np.searchsorted(event_tracks[starts], np.arange(count + 1)).tolist()
    starts, ends, pitches = when[starts], when[ends], first[starts]
    return [
        Track(starts[begin:stop], ends[begin:stop], pitches[begin:stop], metas, note_ons > 0, each)
        for begin, stop, metas, note_ons, each in zip(
            stops[:-1], stops[1:], meta_events, sounding.tolist(), events, strict=True
        )
    ]


def _decode(
    data: bytes, runs: Sequence[_Run], budget: ParseBudget
) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Decode all runs: the index of each one's first event; delta, status and data of each event.

    Exactly three bytes of an event are below 128: the last one of its delta time and its data. The
    positions of these bytes give all others.
    """
    joined = b"".join([data[run.start : run.end] for run in runs])
    budget.count_events(len(joined.translate(None, _HIGH)) // 3)
    values = np.frombuffer(joined, np.uint8)
    low = np.flatnonzero(values < 0x80).reshape(-1, 3)
    delta_end, data_start = low[:, 0], low[:, 1]
    events = values[low].astype(np.int64)

    delta = events[:, 0]
    longer = delta_end.copy()  # bytes of the delta time, minus one
    longer[1:] -= low[:-1, 2] + 1
    for more in range(1, STANDARD_NUMBER_BYTES):
        has_more = np.flatnonzero(longer >= more)
        if not len(has_more):
            break
        digits = values[delta_end[has_more] - more] & np.int64(0x7F)
        delta[has_more] += digits << 7 * more

    # Running status: an event without a status byte has that of the event before.
    with_status = np.where(data_start - delta_end == 2, np.arange(len(low)), 0)
    status = values[delta_end[np.maximum.accumulate(with_status)] + 1].astype(np.int64)

    sizes = [run.end - run.start for run in runs]
    begins = np.searchsorted(delta_end, np.cumsum([0, *sizes[:-1]]))
    return begins, delta, status, events[:, 1], events[:, 2]


def _pair(keys: Ints, is_on: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Pair the events that begin a note, in order, with the event that ends each (-1: none does).

    `keys` encodes track, channel and pitch of each event. Of the events of one key, a note-on that
    follows a note-off or is the first begins a note, and the next event of either kind ends it. So
    of consecutive note-ons the first, third, fifth, ... begin a note.
    """
    small = keys.astype(np.uint16) if not len(keys) or keys.max() < 1 << 16 else keys
    order = np.argsort(small, kind="stable")
    keys, is_on = keys[order], is_on[order]
    same_key = keys[1:] == keys[:-1]
    indices = np.arange(len(keys))
    restarts = np.ones(len(keys), np.bool_)
    restarts[1:] = ~(same_key & is_on[:-1])
    nth_in_row = indices - np.maximum.accumulate(np.where(restarts, indices, 0))
    begins = np.flatnonzero(is_on & (nth_in_row % 2 == 0))
    enders = np.full(len(keys), -1)
    if len(keys):
        enders[:-1][same_key] = order[1:][same_key]
    found = np.full(len(keys), -2)  # by event: the one that ends it; -2 where it begins no note
    found[order[begins]] = enders[begins]
    starts = np.flatnonzero(found > -2)
    return starts, found[starts]
