"""MIDI files in and out: the only door to mido.

mido says what a file's header and meta events mean and which files are well formed. The events
themselves are read by our own readers (`strict_reader`, `lenient_reader`): mido spends a Python
call on each byte and an object on each message, and gives up on many files that others can read.
"""

import functools
import io
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

import mido
from mido.midifiles.meta import build_meta_message
from mido.midifiles.midifiles import read_file_header

from jaxmusic.midi.containers import unwrap
from jaxmusic.midi.lenient_reader import (
    KEY_SIGNATURE,
    TEMPO,
    TIME_SIGNATURE,
    MidiError,
    NonconformingError,
    Track,
    read_loose_track,
)
from jaxmusic.midi.parse_budget import Effort
from jaxmusic.midi.strict_reader import read_tracks
from jaxmusic.storage.outputs import write_output

__all__ = ["TICKS_PER_QUARTER", "MidiError", "MidiScore", "Note", "read_midi", "write_notes"]

TICKS_PER_QUARTER = 480
MAX_FILE_SIZE = 16 * 2**20  # bytes; `jaxmusic.midi.parse_budget` bounds what is read of them
TOO_LARGE = f"it is larger than {MAX_FILE_SIZE:,} bytes"

# A header that gives SMPTE frames instead of ticks a quarter: the frame sizes (its low byte) that
# music21 5.7.2 takes, and the ticks a quarter that it then reads the file with.
_SMPTE_FRAME_SIZES = (24, 25, 29, 30)
_SMPTE_TICKS_PER_QUARTER = 1024
_CHUNK_HEADER_SIZE = 8
# Meta events whose data mido checks. It takes texts as they are.
_SMPTE_OFFSET = 0x54
_CHECKED_METAS = frozenset((0x00, 0x20, TEMPO, _SMPTE_OFFSET, TIME_SIGNATURE, KEY_SIGNATURE))


class Note(NamedTuple):
    """One sounding note: times in ticks, pitch a MIDI number (60 is middle C)."""

    start: int
    end: int
    pitch: int
    velocity: int = 80


class MidiScore(NamedTuple):
    """What a MIDI file holds: its tracks, their times in ticks."""

    ticks_per_quarter: int
    tracks: list[Track]


def read_midi(path: str | os.PathLike[str]) -> MidiScore:
    """Read a MIDI file of format 0 or 1, or one inside a RIFF, MacBinary or gzip file.

    A file that mido reads is read with the same notes, but that the time before a meta event counts
    also where mido doesn't know its kind (mido 1.3 drops it), and that numbers above
    `lenient_reader.LARGEST_NUMBER` are refused. Any other is read the way music21 5.7.2
    reads it, where it can be: data bytes above 127, unknown key signatures, chunks of a wrong
    size, real-time messages, running status out of place.

    Raises OSError when the file can't be opened and MidiError, with the reason, when there is no
    sense in it. Nothing else, whatever the bytes are.
    """
    with open(path, "rb") as file:
        return parse_midi(file.read(MAX_FILE_SIZE + 1))


def parse_midi(data: bytes) -> MidiScore:
    """The same of a file's bytes. Raises MidiError, and nothing else."""
    if len(data) > MAX_FILE_SIZE:
        raise MidiError(TOO_LARGE)
    data = unwrap(data, MAX_FILE_SIZE)
    ticks_per_quarter, chunks = _read_header(data)
    effort = Effort()
    for _ in chunks:
        effort.track()
    try:
        tracks = read_tracks(data, chunks, _check_meta, effort)
    except NonconformingError:  # what was read in vain counts too
        tracks = [read_loose_track(data, start, end, effort) for start, end in chunks]
    return MidiScore(ticks_per_quarter, tracks)


def _read_header(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Ticks a quarter, and where each track's events begin and end (maybe beyond the data)."""
    try:
        format_number, track_count, division = read_file_header(io.BytesIO(data))
    except (EOFError, OSError, struct.error):
        if data[:4] != b"MThd":
            raise MidiError("it is not a MIDI file (no MThd at the start)") from None
        raise MidiError("its header is too short") from None
    if format_number not in (0, 1):  # mido gives it as a signed number, and the division below
        format_number &= 0xFFFF
        raise MidiError(f"it is a MIDI file of format {format_number}; only 0 and 1 are read")
    if division < 0:
        if division & 0xFF not in _SMPTE_FRAME_SIZES:
            raise MidiError(f"its SMPTE frames have {division & 0xFF} ticks, not 24, 25, 29 or 30")
        division = _SMPTE_TICKS_PER_QUARTER
    if division == 0:
        raise MidiError("it has 0 ticks a quarter")

    chunks = []
    track_count &= 0xFFFF
    position = _CHUNK_HEADER_SIZE + int.from_bytes(data[4:8])
    for number in range(1, track_count + 1):
        name = data[position : position + 4]
        start = position + _CHUNK_HEADER_SIZE
        if start > len(data):
            raise MidiError(f"it ends before track {number} of {track_count}")
        if name != b"MTrk":
            raise MidiError(f"track {number} of {track_count} does not begin with MTrk")
        position = start + int.from_bytes(data[position + 4 : start])
        chunks.append((start, position))
    return division, chunks


def _check_meta(kind: int, data: bytes) -> None:
    """Raise NonconformingError for a meta event that mido refuses."""
    if kind in _CHECKED_METAS and not _is_good_meta(kind, _essence(kind, data[:5])):
        raise NonconformingError


def _essence(kind: int, data: bytes) -> bytes:
    """Data on which mido's verdict is the same: so few that all of them can be remembered."""
    if kind == KEY_SIGNATURE:
        return data[:2]
    if kind == TIME_SIGNATURE and len(data) >= 4:
        return bytes((0, data[1], 0, 0))
    if kind == _SMPTE_OFFSET and len(data) == 5:
        rate, minutes, seconds, _, sub_frames = data
        is_over = minutes > 59, seconds > 59, sub_frames > 99
        return bytes((rate & 0xE0, 60 * is_over[0], 60 * is_over[1], 0, 100 * is_over[2]))
    return bytes(len(data))


@functools.lru_cache(maxsize=1024)
def _is_good_meta(kind: int, data: bytes) -> bool:
    try:
        build_meta_message(kind, data)
    except (LookupError, TypeError, ValueError, mido.KeySignatureError):
        return False
    return True


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
    """Write a format 1 MIDI file: a conductor track, then one track a part.

    `tracks` are the parts (two hands of a piano, say), each on a channel of its own with the
    General MIDI `program` (0-127; 0 is the grand piano). `tempos` are (tick, quarters a minute),
    `meters` (tick, beats, beat unit), `key` a mido key name such as "F#m". A pitch that is
    struck again in its part while it sounds ends there first, as on a keyboard. The file
    appears whole or not at all.

    Raises ValueError for values that a MIDI file cannot hold (mido's words).
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

    channels = [channel for channel in range(16) if channel != 9]  # 9 is percussion
    for number, notes in enumerate(tracks):
        channel = channels[number % len(channels)]
        events: list[tuple[int, mido.Message | mido.MetaMessage]] = [
            (0, mido.Message("program_change", channel=channel, program=program))
        ]
        # At one tick, ends come before starts: a repeated pitch must end before it sounds again.
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
    """The notes by start, each cut where its pitch is struck again; doubled notes merge."""
    kept: list[Note] = []
    last_of_pitch: dict[int, int] = {}  # pitch -> place in `kept`
    for note in sorted(notes):
        place = last_of_pitch.get(note.pitch)
        if place is not None and kept[place].end > note.start:
            if kept[place].start == note.start:
                kept[place] = note  # sorted: the longer of the two comes last
                continue
            kept[place] = kept[place]._replace(end=note.start)
        last_of_pitch[note.pitch] = len(kept)
        kept.append(note)
    return kept


def _to_track(events: Sequence[tuple[int, mido.Message | mido.MetaMessage]]) -> mido.MidiTrack:
    """Events at absolute ticks, in order, as a track of delta times."""
    track = mido.MidiTrack()
    now = 0
    for tick, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    return track
