"""Writes MIDI files."""

import io
import os
from collections.abc import Sequence

import mido

from jaxmusic.midi.types import Note
from jaxmusic.storage.outputs import write_output

TICKS_PER_QUARTER = 480
_PERCUSSION_CHANNEL = 9


def write_notes(
    path: str | os.PathLike[str],
    tracks: Sequence[Sequence[Note]],
    *,
    ticks_per_quarter: int = TICKS_PER_QUARTER,
    tempos: Sequence[tuple[int, float]] = ((0, 120.0),),
    meters: Sequence[tuple[int, int, int]] = ((0, 4, 4),),
    key: str | None = None,
    program: int = 0,
    title: str = "",
) -> None:
    """Write a format 1 MIDI file: a conductor track, then one track for each part.

    Args:
        tracks: the parts (two hands of a piano, for example), each on a channel of its own.
        tempos: (tick, quarters a minute).
        meters: (tick, beats, beat unit).
        key: a mido key name such as "F#m".
        program: the General MIDI instrument, 0-127 (0 is the grand piano).

    A pitch that starts again in its part while it sounds ends there first, as on a keyboard. The
    file appears whole or not at all.

    Raises ValueError, with mido's message, for values that a MIDI file cannot hold.
    """
    file = mido.MidiFile(type=1, ticks_per_beat=ticks_per_quarter)
    conductor: list[tuple[int, mido.MetaMessage]] = [
        (0, mido.MetaMessage("track_name", name=title)),
        *(
            (tick, mido.MetaMessage("time_signature", numerator=beats, denominator=unit))
            for tick, beats, unit in meters
        ),
        *((tick, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm))) for tick, bpm in tempos),
    ]
    if key is not None:
        conductor.append((0, mido.MetaMessage("key_signature", key=key)))
    file.tracks.append(_to_track(sorted(conductor, key=lambda event: event[0])))

    channels = [channel for channel in range(16) if channel != _PERCUSSION_CHANNEL]
    for number, notes in enumerate(tracks):
        channel = channels[number % len(channels)]
        events: list[tuple[int, mido.Message | mido.MetaMessage]] = [
            (0, mido.Message("program_change", channel=channel, program=program))
        ]
        # At one tick, ends come before starts: a repeated pitch must end before it starts again.
        timed = []
        for start, end, pitch, velocity in _without_overlaps(notes):
            timed.append((start, 1, pitch, velocity))
            timed.append((end, 0, pitch, 0))
        for tick, is_start, pitch, velocity in sorted(timed):
            kind = "note_on" if is_start else "note_off"
            message = mido.Message(kind, channel=channel, note=pitch, velocity=velocity)
            events.append((tick, message))
        file.tracks.append(_to_track(events))

    buffer = io.BytesIO()
    file.save(file=buffer)
    write_output(path, buffer.getvalue())


def _without_overlaps(notes: Sequence[Note]) -> list[Note]:
    """Sort notes by start, cut each where its pitch starts again, and merge doubled notes."""
    kept: list[Note] = []
    last_of_pitch: dict[int, int] = {}  # pitch -> index in `kept`
    for note in sorted(notes):
        index = last_of_pitch.get(note.pitch)
        if index is not None and kept[index].end > note.start:
            if kept[index].start == note.start:
                kept[index] = note  # sorted: the longer of the two comes last
                continue
            kept[index] = kept[index]._replace(end=note.start)
        last_of_pitch[note.pitch] = len(kept)
        kept.append(note)
    return kept


def _to_track(events: Sequence[tuple[int, mido.Message | mido.MetaMessage]]) -> mido.MidiTrack:
    """Make a track with delta times of events at absolute ticks, in order."""
    track = mido.MidiTrack()
    now = 0
    for tick, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    return track
