"""Reads MIDI files.

mido decides what a file's header and meta events mean and which files are well formed. The events
themselves are read by `strict_reader` and `lenient_reader`: mido spends a Python call on each byte
and an object on each message, and refuses many files that others can read.
"""

import functools
import io
import os
import struct

import mido
from mido.midifiles.meta import build_meta_message
from mido.midifiles.midifiles import read_file_header

from jaxmusic.midi.containers import unwrap
from jaxmusic.midi.lenient_reader import read_lenient_track
from jaxmusic.midi.parse_budget import ParseBudget
from jaxmusic.midi.strict_reader import read_strict_tracks
from jaxmusic.midi.types import (
    KEY_SIGNATURE,
    TEMPO,
    TIME_SIGNATURE,
    MidiError,
    MidiScore,
    NonconformingError,
)

MAX_FILE_SIZE = 16 * 2**20  # bytes; `jaxmusic.midi.parse_budget` limits what is parsed of them
TOO_LARGE = f"it is larger than {MAX_FILE_SIZE:,} bytes"

# A header with SMPTE frames instead of ticks a quarter: the ticks a frame (the division's low byte)
# that music21 5.7.2 accepts, and the ticks a quarter that it then reads the file with.
_SMPTE_TICKS_PER_FRAME = (24, 25, 29, 30)
_SMPTE_TICKS_PER_QUARTER = 1024
_CHUNK_HEADER_SIZE = 8
# The meta types whose data mido checks. It accepts any text.
_SMPTE_OFFSET = 0x54
_CHECKED_META_TYPES = frozenset((0x00, 0x20, TEMPO, _SMPTE_OFFSET, TIME_SIGNATURE, KEY_SIGNATURE))


def read_midi(path: str | os.PathLike[str]) -> MidiScore:
    """Read a MIDI file of format 0 or 1, or one inside a RIFF, MacBinary or gzip file.

    A file that mido reads is read with the same notes, with two exceptions: the time before a meta
    event of an unknown type counts (mido 1.3 drops it), and numbers above `messages.LARGEST_NUMBER`
    are refused. Any other file is read as music21 5.7.2 reads it, where that is possible: with data
    bytes above 127, unknown key signatures, chunks of a wrong size, real-time messages, misplaced
    running status.

    Raises OSError when the file can't be opened, and MidiError with the reason when it can't be
    read as MIDI. Nothing else, whatever the bytes are.
    """
    with open(path, "rb") as file:
        return parse_midi(file.read(MAX_FILE_SIZE + 1))


def parse_midi(data: bytes) -> MidiScore:
    """Read the bytes of a MIDI file, as `read_midi` does. Raises MidiError, and nothing else."""
    if len(data) > MAX_FILE_SIZE:
        raise MidiError(TOO_LARGE)
    data = unwrap(data, MAX_FILE_SIZE)
    ticks_per_quarter, chunks = _read_header(data)
    budget = ParseBudget()
    for _ in chunks:
        budget.count_track()
    try:
        tracks = read_strict_tracks(data, chunks, _check_meta, budget)
    except NonconformingError:  # what was read in vain stays counted
        tracks = [read_lenient_track(data, start, end, budget) for start, end in chunks]
    return MidiScore(ticks_per_quarter, tracks)


def _read_header(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Ticks a quarter, and each track's start and end in the data (the end may lie beyond them)."""
    try:
        format_number, track_count, division = read_file_header(io.BytesIO(data))
    except (EOFError, OSError, struct.error):
        if data[:4] != b"MThd":
            raise MidiError("it is not a MIDI file (no MThd at the start)") from None
        raise MidiError("its header is too short") from None
    if format_number not in (0, 1):  # mido reads it as a signed number, like the division below
        format_number &= 0xFFFF
        raise MidiError(f"it is a MIDI file of format {format_number}; only 0 and 1 are read")
    if division < 0:
        if division & 0xFF not in _SMPTE_TICKS_PER_FRAME:
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
    if kind in _CHECKED_META_TYPES and not _is_valid_meta(kind, _cache_key(kind, data[:5])):
        raise NonconformingError


def _cache_key(kind: int, data: bytes) -> bytes:
    """Data that mido judges in the same way, with so few values that all of them can be cached."""
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
def _is_valid_meta(kind: int, data: bytes) -> bool:
    try:
        build_meta_message(kind, data)
    except (LookupError, TypeError, ValueError, mido.KeySignatureError):
        return False
    return True
