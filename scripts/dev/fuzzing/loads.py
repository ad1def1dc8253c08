"""Files that take much time or memory to parse: many repeated items, up to the largest size."""

import gzip
import random
from collections.abc import Callable

import numpy as np

from fuzzing.pieces import LONGEST_DELTA, midi, number, riff_chunk
from jaxmusic.midi.reader import MAX_FILE_SIZE

MOST_TRACKS = 0xFFFF
NOTE = b"\0\x90\x3c\x40\x60\x3c\0"  # with running status
BAD_NOTE = b"\0\x90\x3c\xff"  # only for the reader of bad tracks
FAR = number(LONGEST_DELTA)

# What a track begins with, and what then comes again and again.
REPEATED: dict[str, tuple[bytes, bytes]] = {
    "programs": (NOTE + b"\0\xc0\0", b"\0\5"),
    "programs apart": (NOTE + b"\0\xc0\0", b"\x7f\5\x7f\0"),
    "programs of no length": (NOTE + b"\0\xc0\0", b"\x7f\5\0\0\0\5"),
    "programs between notes": (b"", b"\x10\x90\x3c\x40\0\xc0\0\x10\x80\x3c\x40\0\xc0\1"),
    "tempos": (NOTE, b"\0\xff\x51\3\7\1\1"),
    "keys": (NOTE, b"\7\xff\x59\2\0\0"),
    "meters": (NOTE, b"\7\xff\x58\4\4\2\x18\x08"),
    "frames": (NOTE, b"\7\xff\x54\5\1\2\3\4\5"),
    "texts": (NOTE, b"\0\xff\1\0"),
    "pressures": (NOTE + b"\0\xd0\0", b"\0\5"),
    "controllers": (NOTE + b"\0\xb0\7\7", b"\0\7\7"),
    "sysex": (NOTE, b"\0\xf0\1\xf7"),
    "sysex, running": (NOTE + b"\0\xf0\1\xf7", b"\0\0\0"),
    "clocks": (NOTE, b"\0\xf8"),
    "clocks between notes": (b"", b"\x10\x90\x3c\x40\0\xf8\x10\x80\x3c\x40\0\xf8"),
    "songs": (NOTE + b"\0\xf3\1", b"\0\1"),
    "notes": (NOTE, b"\x0a\x3c\x40\x10\x3c\0"),
    "notes of no length": (NOTE, b"\0\x3c\x40\0\x3c\0"),
    "notes never ended": (NOTE, b"\0\x3c\x40"),
    "notes far apart": (NOTE, FAR + b"\x3c\x40" + FAR + b"\x3c\0"),
    "bad notes": (BAD_NOTE, b"\1\x3c\x40\x10\x3c\0"),
    "bad programs": (NOTE + b"\0\xc0\xff", b"\0\5"),
    "bad metas": (BAD_NOTE + NOTE, b"\0\xff\1\0"),
    "bad tempos": (BAD_NOTE + NOTE, b"\0\xff\x51\0"),
    "unknown metas": (BAD_NOTE, b"\0\xff\x0b"),
    "bad clocks": (BAD_NOTE, b"\0\xf8"),
    "bytes of a number": (NOTE, b"\x80"),
    "zeros": (b"", b"\0"),
    "highest": (b"", b"\xff"),
}
TRACKS: dict[str, bytes] = {
    "empty tracks": b"",
    "tracks of a note": NOTE,
    "tracks of a program": b"\0\xc0\5" + NOTE,
    "tracks with voices": b"\0\x90\x3c\x40\0\x40\x40\x30\x3c\0\x30\x40\0" * 2,
    "bad tracks": BAD_NOTE + NOTE,
}


def repeated(name: str) -> Callable[[random.Random], bytes]:
    """Files of one kind of event."""
    first, unit = REPEATED[name]

    def make(rng: random.Random) -> bytes:
        return midi([first + unit * (_size(rng) // len(unit))], division=_division(rng))

    return make


def many_tracks(name: str) -> Callable[[random.Random], bytes]:
    """Files of many tracks."""

    def make(rng: random.Random) -> bytes:
        count = rng.choice((1_000, 10_000, 20_000, MOST_TRACKS))
        return midi([TRACKS[name]] * count, division=_division(rng))

    return make


def crowded(rng: random.Random) -> bytes:
    """Notes that begin and end at random, on all keys, in one track or more."""
    tracks = rng.choice((1, 1, 2, 16))
    draw = np.random.default_rng(rng.randrange(2**32))
    count = _size(rng) // 4
    events = np.stack(
        [
            draw.integers(0, rng.choice((1, 2, 4, 10, 60)), count),
            0x90 | draw.integers(0, rng.choice((1, 16)), count),
            draw.integers(0, rng.choice((1, 12, 128)), count),
            np.full(count, 64),
        ],
        axis=1,
    ).astype(np.uint8)
    pieces = np.array_split(events, tracks)
    return midi([piece.tobytes() for piece in pieces], division=_division(rng))


def mixed(rng: random.Random) -> bytes:
    """Ranges of several of these kinds, one after another."""
    size = _size(rng)
    events = b"\0\x90\x3c\x40\x60\x3c\0"
    for name in rng.sample(sorted(REPEATED), 4):
        first, unit = REPEATED[name]
        events += first + unit * (size // 4 // len(unit))
    return midi([events[: MAX_FILE_SIZE - 99]], division=_division(rng))


def random_data(rng: random.Random) -> bytes:
    """Random bytes after a valid beginning, or bytes below 128, which parse as notes."""
    data = rng.randbytes(_size(rng))
    if rng.random() < 0.5:
        data = b"\0\x90\x3c" + (np.frombuffer(data, np.uint8) & 0x7F).tobytes()
    return midi([data], division=_division(rng))


def too_large(rng: random.Random) -> bytes:
    """A file a few bytes above the size limit."""
    return midi([NOTE * (MAX_FILE_SIZE // len(NOTE) + rng.randrange(1, 99))])


def riff_chunks(rng: random.Random) -> bytes:
    """A RIFF file of empty chunks, and then a MIDI file."""
    chunks = riff_chunk(b"LIST", b"") * (_size(rng) // 8)
    return riff_chunk(b"RIFF", b"RMID" + chunks + riff_chunk(b"data", midi([NOTE])))


def gzip_bomb(rng: random.Random) -> bytes:
    """A small file that unpacks to a large one, of up to twice as much as is read."""
    repeats = int(2 * MAX_FILE_SIZE * rng.random()) // len(NOTE)
    return gzip.compress(midi([NOTE * repeats]), 1, mtime=0)


def gzip_of_nothing(rng: random.Random) -> bytes:
    """A file of gzip blocks without content."""
    header = gzip.compress(b"", mtime=0)[:10]
    return header + b"\0\0\0\xff\xff" * (_size(rng) // 5)


LOADS: dict[str, Callable[[random.Random], bytes]] = {
    **{name: repeated(name) for name in REPEATED},
    **{name: many_tracks(name) for name in TRACKS},
    "crowds": crowded, "many kinds": mixed, "random data": random_data, "too large": too_large,
    "RIFF chunks": riff_chunks, "gzip bombs": gzip_bomb, "gzip of nothing": gzip_of_nothing,
}  # fmt: skip


def _size(rng: random.Random) -> int:
    """Bytes of events: up to the largest file, and often about as many as are just read."""
    return int((MAX_FILE_SIZE - 999) * rng.choice((1, 0.6, 0.4, 0.2, 0.1, 0.05)) * rng.random())


def _division(rng: random.Random) -> int:
    return rng.choice((1, 24, 480, 0x7FFF))
