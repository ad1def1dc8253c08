"""A MIDI file's notes, by our reader and by mido: (start, end, pitch) in each track."""

import io
from collections.abc import Callable
from typing import Any
from unittest import mock

import mido
from mido.midifiles import midifiles

from jaxmusic.midi.types import MidiScore

BUILD_META_MESSAGE = midifiles.build_meta_message
TrackNotes = list[tuple[int, int, int]]
Reader = Callable[[bytes], MidiScore]  # the fixture `read`


def notes_of(score: MidiScore) -> list[TrackNotes]:
    """Each track's notes: (start, end, pitch)."""
    return [list(zip(t.starts, t.ends, t.pitches, strict=True)) for t in score.tracks]


def _with_its_time(kind: int, data: bytes, delta: int) -> Any:
    """A meta event with the time before it, which mido 1.3 drops where it knows no such kind."""
    message = BUILD_META_MESSAGE(kind, data, delta)
    message.time = delta
    return message


def mido_file(data: bytes) -> mido.MidiFile | None:
    """The file as mido reads it, with all its times; None if mido refuses it."""
    try:
        with mock.patch.object(midifiles, "build_meta_message", _with_its_time):
            return mido.MidiFile(file=io.BytesIO(data))
    except Exception:  # mido has no exception of its own
        return None


def mido_notes(data: bytes) -> list[TrackNotes] | None:
    """Each track's notes by mido's messages; None if mido refuses the file."""
    file = mido_file(data)
    if file is None:
        return None
    tracks = []
    for messages in file.tracks:
        sounding: dict[tuple[int, int], list[int]] = {}
        found: list[list[int]] = []
        now = 0
        for message in messages:
            now += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            if note := sounding.pop((message.channel, message.note), None):
                note.append(now)
            elif message.type == "note_on" and message.velocity:
                found.append([now, message.note])
                sounding[message.channel, message.note] = found[-1]
        tracks.append([(note[0], note[2], note[1]) for note in found if len(note) == 3])
    return tracks
