"""Building blocks of MIDI files, and valid files."""

import random
from collections.abc import Iterable

LONGEST_DELTA = 2**28 - 1
DIVISIONS = (1, 2, 24, 96, 120, 480, 960, 1024, 0x7FFF, 0xE718, 0xE819, 0xE21D, 0xE21E)
HEADER_SIZE = 8  # bytes of a chunk's header


def number(value: int) -> bytes:
    """A variable-length number."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk with its true size."""
    return name + len(body).to_bytes(4) + body


def midi(tracks: Iterable[bytes], *, division: int = 480, midi_format: int = 1) -> bytes:
    """A file of tracks of these events."""
    chunks = [chunk(b"MTrk", events) for events in tracks]
    header = b"".join(value.to_bytes(2) for value in (midi_format, len(chunks), division))
    return chunk(b"MThd", header) + b"".join(chunks)


def riff(data: bytes, *, before: bytes = b"") -> bytes:
    """A file inside a RIFF file, maybe after another chunk."""
    chunks = [riff_chunk(b"LIST", before)] if before else []
    return riff_chunk(b"RIFF", b"RMID" + b"".join(chunks) + riff_chunk(b"data", data))


def riff_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of RIFF: its size has its lowest byte first, and it ends at an even one."""
    return name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def mac_binary(data: bytes) -> bytes:
    """A file with a MacBinary header."""
    header = bytes((0, 4)) + b"Song".ljust(63, b"\0") + b"MidiTTxt"
    return header.ljust(83, b"\0") + len(data).to_bytes(4) + bytes(128 - 87) + data


def split(data: bytes) -> list[bytes]:
    """The chunks of a file, with their headers."""
    chunks = []
    position = 0
    while position < len(data):
        size = HEADER_SIZE + int.from_bytes(data[position + 4 : position + HEADER_SIZE])
        chunks.append(data[position : position + size])
        position += size
    return chunks


def valid_file(rng: random.Random) -> bytes:
    """A file of up to 400 events a track that keeps to the standard, dense or thin."""
    division = rng.choice(DIVISIONS)
    quarter = 1024 if division & 0x8000 else division
    deltas = rng.choice(
        (
            (0, 0, 0, 1),
            (0, quarter // 4, quarter // 3, quarter),
            (0, quarter // 16, quarter // 16 + 1),
            (0, 1, quarter, LONGEST_DELTA),
        )
    )
    tracks = [_events(rng, deltas) for _ in range(rng.choice((1, 1, 2, 3, 16)))]
    return midi(tracks, division=division, midi_format=rng.choice((0, 1, 1)))


def _events(rng: random.Random, deltas: tuple[int, ...]) -> bytes:
    notes, channels, others = rng.choice((1, 12, 128)), rng.choice((1, 2, 16)), rng.random() / 3
    sounding: list[tuple[int, int]] = []
    pieces = []
    for _ in range(rng.randrange(400)):
        pieces.append(number(rng.choice(deltas)))
        if rng.random() < others:
            pieces.append(rng.choice(OTHERS)(rng))
        elif sounding and rng.random() < 0.5:
            channel, pitch = sounding.pop(rng.randrange(len(sounding)))
            pieces.append(bytes((rng.choice((0x80, 0x90)) | channel, pitch, 0)))
        else:
            channel, pitch = rng.randrange(channels), rng.randrange(notes)
            sounding.append((channel, pitch))
            pieces.append(bytes((0x90 | channel, pitch, rng.randrange(1, 128))))
    return b"".join(pieces) + b"\0\xff\x2f\0"


OTHERS = (
    lambda rng: bytes((0xC0 | rng.randrange(16), rng.choice((0, 0, 40, 127)))),
    lambda rng: bytes((0xD0, rng.randrange(128))),
    lambda rng: bytes((0xB0, rng.randrange(128), rng.randrange(128))),
    lambda rng: bytes((0xE0, rng.randrange(128), rng.randrange(128))),
    lambda rng: b"\xff\x51\3" + rng.randbytes(3),
    lambda rng: b"\xff\x58\4" + bytes((rng.randrange(256), rng.randrange(8), 24, 8)),
    lambda rng: b"\xff\x59\2" + bytes((rng.randrange(-7, 8) & 0xFF, rng.randrange(2))),
    lambda rng: b"\xff" + bytes((rng.choice((1, 3, 5, 0x7F)), 4)) + rng.randbytes(4),
    lambda rng: b"\xf0\3\x7e\x7f\xf7",
)  # events without their delta times
