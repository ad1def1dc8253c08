"""The notes of a MIDI file on a grid, one by one in exact fractions: the oracle of `grid_notes`."""

import math
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from helpers.midi_notes import mido_file
from helpers.random_midi import ticks_of

LENGTHS = [*range(1, 49), *range(60, 193, 12), *range(240, 961, 48)]


class Played(NamedTuple):
    """A note with times in ticks."""

    start: int
    end: int
    pitch: int
    velocity: int
    channel: int


def played_notes(data: bytes) -> tuple[list[Played], Counter[str]]:
    """All notes but drums, by mido's messages: any event of a note's key ends it."""
    file = mido_file(data)
    assert file is not None
    counts = Counter[str]()
    notes: list[Played] = []
    for messages in file.tracks:
        now = 0
        sounding: dict[tuple[int, int], tuple[int, int]] = {}  # key -> start, velocity
        for message in messages:
            now += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            is_on = message.type == "note_on" and message.velocity > 0
            if message.channel == 9:
                counts["of drums"] += is_on
                continue
            key = message.channel, message.note
            if key in sounding:
                start, velocity = sounding.pop(key)
                notes.append(Played(start, now, message.note, velocity, message.channel))
            if is_on:
                counts["read"] += 1
                sounding[key] = now, message.velocity
        counts["without end"] += len(sounding)
    return notes, counts


def pedal_changes(data: bytes) -> dict[int, list[tuple[int, bool]]]:
    """Per channel, in order of time: (tick, whether the sustain pedal is down)."""
    file = mido_file(data)
    assert file is not None
    changes: dict[int, list[tuple[int, bool]]] = {}
    for messages in file.tracks:
        now = 0
        for message in messages:
            now += message.time
            if message.type == "control_change" and message.control == 64:
                changes.setdefault(message.channel, []).append((now, message.value >= 64))
    return {channel: sorted(each, key=lambda c: c[0]) for channel, each in changes.items()}


def release(note: Played, changes: list[tuple[int, bool]], last: int) -> int:
    """When a note is silent, given the pedal of its channel."""
    if not any([is_down for tick, is_down in changes if tick <= note.end][-1:]):
        return note.end
    return min((tick for tick, is_down in changes if tick > note.end and not is_down), default=last)


def reference_notes(
    data: bytes, grid: int, *, pedal: bool
) -> tuple[list[tuple[int, int, int, int]], Counter[str]]:
    """Notes (onset, pitch, length, velocity) in order, times in steps; what became of them."""
    quarter = ticks_of(int.from_bytes(data[12:14]))

    def step(tick: int) -> int:
        return math.floor(Fraction(tick * grid, quarter) + Fraction(1, 2))

    notes, counts = played_notes(data)
    changes = pedal_changes(data) if pedal else {}
    last = max((note.end for note in notes), default=0)
    merged: dict[tuple[int, int], tuple[int, int, int]] = {}  # onset, pitch -> ends, velocity
    for note in notes:
        end = step(note.end)
        stop = step(release(note, changes.get(note.channel, []), last))
        place = step(note.start), note.pitch
        if place in merged:
            counts["merged"] += 1
            old_end, old_stop, old_velocity = merged[place]
            merged[place] = max(end, old_end), max(stop, old_stop), max(note.velocity, old_velocity)
        else:
            merged[place] = end, stop, note.velocity
    found = []
    for (onset, pitch), (end, stop, velocity) in merged.items():
        again = min(
            (other for other, same in merged if same == pitch and other > onset), default=None
        )
        room = 960 if again is None else min(960, again - onset)
        counts["cut"] += end - onset > room
        wanted = max(stop - onset, 1)
        nearest = min(LENGTHS, key=lambda length: (abs(length - wanted), length))
        length = min(nearest, max(length for length in LENGTHS if length <= room))
        found.append((onset, pitch, length, velocity))
    return sorted(found, key=lambda note: (note[0], -note[1])), counts
