"""Kinds of damage: each function makes a bad MIDI file of a good one."""

import gzip
import random
from collections.abc import Callable

from fuzzing.pieces import HEADER_SIZE, LONGEST_DELTA, chunk, mac_binary, number, riff, split

LIKELY = bytes((0, 1, 0x3C, 0x7F, 0x80, 0x90, 0xB0, 0xC0, 0xE0, 0xF0, 0xF1, 0xF7, 0xF8, 0xFF))
SIZES = (0, 1, 7, 0x7F, 0xFFFF, 2**24, 2**31 - 1, 2**32 - 1)
NUMBERS = (
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\0",
    b"\x80" * 40,
    b"\x80" * 40 + b"\5",
    number(2**32 - 1),
    number(2**35),
    number(LONGEST_DELTA),
    number(2**21),
)

Damage = Callable[[random.Random, bytes], bytes]


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    """Flip some bits."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 20)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Change some bytes, mostly to values with a meaning in MIDI."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 20)):
        value = rng.choice(LIKELY) if rng.random() < 0.7 else rng.randrange(256)
        changed[rng.randrange(len(changed))] = value
    return bytes(changed)


def cut_off(rng: random.Random, data: bytes) -> bytes:
    """Truncate the file."""
    return data[: rng.randrange(len(data))]


def put_in(rng: random.Random, data: bytes) -> bytes:
    """Insert bytes."""
    place = rng.randrange(len(data))
    more = rng.randbytes(rng.choice((1, 1, 2, 9, 200)))
    return data[:place] + more + data[place:]


def take_out(rng: random.Random, data: bytes) -> bytes:
    """Delete bytes."""
    place = rng.randrange(len(data))
    return data[:place] + data[place + rng.choice((1, 1, 2, 9, 200)) :]


def blank(rng: random.Random, data: bytes) -> bytes:
    """Overwrite a range with one value, like a bad disk."""
    place = rng.randrange(len(data))
    size = rng.choice((4, 64, 512, 4096))
    return data[:place] + bytes((rng.choice(LIKELY),)) * size + data[place + size :]


def move_chunks(rng: random.Random, data: bytes) -> bytes:
    """Repeat, drop or reorder chunks."""
    chunks = split(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(chunks))
        what = rng.randrange(4)
        if what == 0:
            chunks.insert(rng.randrange(len(chunks) + 1), chunks[place])
        elif what == 1 and len(chunks) > 1:
            del chunks[place]
        elif what == 2:
            chunks.insert(place, chunk(rng.randbytes(4), rng.randbytes(rng.randrange(50))))
        else:
            rng.shuffle(chunks)
    return b"".join(chunks)


def wrong_sizes(rng: random.Random, data: bytes) -> bytes:
    """Give chunks a wrong size."""
    chunks = split(data)
    for _ in range(rng.randint(1, 2)):
        place = rng.randrange(len(chunks))
        one = chunks[place]
        true = len(one) - HEADER_SIZE
        near = max(0, true + rng.randint(-9, 9))
        size = near if rng.random() < 0.7 else rng.choice(SIZES)
        chunks[place] = one[:4] + size.to_bytes(4) + one[HEADER_SIZE:]
    return b"".join(chunks)


def wrong_header(rng: random.Random, data: bytes) -> bytes:
    """Change the format, the number of tracks or the division."""
    values = [int.from_bytes(data[place : place + 2]) for place in (8, 10, 12)]
    values[rng.randrange(3)] = rng.choice((0, 1, 2, 3, 255, 0x7FFF, 0x8000, 0xE718, 0xFFFF))
    return data[:8] + b"".join(value.to_bytes(2) for value in values) + data[14:]


def running_status(rng: random.Random, data: bytes) -> bytes:
    """Leave status bytes out, or insert them where they don't belong."""
    changed = bytearray(data)
    high = [place for place in range(22, len(data)) if data[place] >= 0x80]
    for place in sorted(rng.sample(high, min(len(high), rng.randint(1, 9))), reverse=True):
        if rng.random() < 0.5:
            del changed[place]
        else:
            changed.insert(place, rng.choice(LIKELY))
    return bytes(changed)


def extreme_numbers(rng: random.Random, data: bytes) -> bytes:
    """Numbers that are too large, too long or endless."""
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(min(22, len(data)), len(data) + 1)
        skip = rng.choice((0, 1))
        data = data[:place] + rng.choice(NUMBERS) + data[place + skip :]
    return data


def long_metas(rng: random.Random, data: bytes) -> bytes:
    """Meta events that are long, or claim to be."""
    place = rng.randrange(min(22, len(data)), len(data) + 1)
    kind = bytes((rng.choice((0, 1, 5, 0x20, 0x2F, 0x51, 0x54, 0x58, 0x59, 0x7F, 0x0B)),))
    size = rng.choice((0, 1, 5, 300, 70_000, LONGEST_DELTA))
    body = bytes(min(size, rng.choice((0, size, 100_000))))
    return data[:place] + b"\0\xff" + kind + number(size) + body + data[place:]


def endless_sysex(rng: random.Random, data: bytes) -> bytes:
    """System exclusive messages without an end, or with another size."""
    place = rng.randrange(min(22, len(data)), len(data) + 1)
    start = bytes((0, rng.choice((0xF0, 0xF7))))
    return data[:place] + start + rng.choice(NUMBERS[:2]) + rng.randbytes(9) + data[place:]


def nest(rng: random.Random, data: bytes) -> bytes:
    """Put a file inside a file."""
    inner = data[: rng.choice((14, 22, len(data)))]
    place = rng.choice((0, 4, 8, 14, 22, rng.randrange(len(data))))
    return data[:place] + inner + data[place:]


def wrap(rng: random.Random, data: bytes) -> bytes:
    """Wrap the file in RIFF, MacBinary or gzip, put a text before it, or re-encode it."""
    return rng.choice(
        (
            riff(data),
            riff(data, before=rng.randbytes(rng.randrange(99))),
            mac_binary(data),
            gzip.compress(data, rng.randrange(10), mtime=0),
            riff(gzip.compress(data, mtime=0)),
            bytes(128) + data,
            b"\xef\xbb\xbf" + data,
            data.replace(b"\n", b"\r\n"),
            data.decode("latin-1").encode("utf-8"),
            b"<html>" + data,
        )
    )


def damaged_wrapper(rng: random.Random, data: bytes) -> bytes:
    """Wrap the file, and truncate or change the wrapper near its beginning or end."""
    changed = bytearray(wrap(rng, data))
    if rng.random() < 0.3:
        return bytes(changed[: rng.randrange(len(changed))])
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(min(len(changed), 150))
        changed[rng.choice((place, -1 - place))] = rng.choice(
            (0, 1, 0x7F, 0xFF, rng.randrange(256))
        )
    return bytes(changed)


def noise(rng: random.Random, data: bytes) -> bytes:
    """Random bytes after a valid beginning."""
    keep = rng.choice((4, 8, 14, 22, rng.randrange(len(data) + 1)))
    likely = bytes(rng.choices(LIKELY, k=rng.randrange(2000)))
    rest = rng.choice((rng.randbytes(len(likely)), likely))
    size = len(rest).to_bytes(4) if keep == 22 else b""
    return data[: keep - len(size)] + size + rest


def stub(rng: random.Random, data: bytes) -> bytes:
    """An empty or tiny file."""
    return rng.choice((b"", data[: rng.randrange(23)], bytes(rng.randrange(99)), b"MThd"))


WAYS: dict[str, Damage] = {
    way.__name__.replace("_", " "): way
    for way in (
        flip_bits, change_bytes, cut_off, put_in, take_out, blank, move_chunks, wrong_sizes,
        wrong_header, running_status, extreme_numbers, long_metas, endless_sysex, nest, wrap,
        damaged_wrapper, noise, stub,
    )
}  # fmt: skip

# Those that may as well be done to the events of one track.
INNER = frozenset(
    (
        flip_bits, change_bytes, cut_off, put_in, take_out, blank, running_status,
        extreme_numbers, long_metas, endless_sysex,
    )
)  # fmt: skip
