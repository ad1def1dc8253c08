"""MIDI files built from bytes, for tests: each function gives the bytes of one piece."""

from collections.abc import Iterable

CHUNK_HEADER = 8  # bytes


def number(value: int) -> bytes:
    """A variable-length number."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def on(delta: int, pitch: int, velocity: int = 64, channel: int = 0) -> bytes:
    return number(delta) + bytes((0x90 | channel, pitch, velocity))


def off(delta: int, pitch: int, channel: int = 0) -> bytes:
    return number(delta) + bytes((0x80 | channel, pitch, 64))


def program(delta: int, value: int, channel: int = 0) -> bytes:
    return number(delta) + bytes((0xC0 | channel, value))


def meta(delta: int, kind: int, data: bytes = b"") -> bytes:
    return number(delta) + bytes((0xFF, kind)) + number(len(data)) + data


def tempo(delta: int, microseconds: int = 500_000) -> bytes:
    return meta(delta, 0x51, microseconds.to_bytes(3))


def meter(delta: int, beats: int = 4, unit_power: int = 2) -> bytes:
    return meta(delta, 0x58, bytes((beats, unit_power, 24, 8)))


def key(delta: int, sharps: int = 0, is_minor: int = 0) -> bytes:
    return meta(delta, 0x59, bytes((sharps & 0xFF, is_minor)))


def end(delta: int = 0) -> bytes:
    return meta(delta, 0x2F)


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """A chunk; `size` is what its header claims, if it should not be the truth."""
    return name + (len(body) if size is None else size).to_bytes(4) + body


def header(tracks: int, division: int = 480, midi_format: int = 1) -> bytes:
    return chunk(b"MThd", b"".join(n.to_bytes(2) for n in (midi_format, tracks, division)))


def track(*events: bytes) -> bytes:
    """A track of the events, with an end-of-track event after them."""
    return chunk(b"MTrk", b"".join(events) + end())


def midi(*tracks: bytes, division: int = 480, midi_format: int = 1) -> bytes:
    return header(len(tracks), division, midi_format) + b"".join(tracks)


def played(*notes: tuple[int, int, int]) -> bytes:
    """The events of notes (start, end, pitch), in absolute ticks; at one tick ends come first.

    A note of no length is ended right after it begins.
    """
    timed: list[tuple[int, int, int]] = []
    for start, stop, pitch in notes:
        timed += [(start, 1, pitch), (stop, 0 if stop > start else 2, pitch)]
    return timeline(
        (tick, on(0, pitch) if kind == 1 else off(0, pitch))
        for tick, kind, pitch in sorted(timed, key=lambda event: event[:2])
    )


def timeline(events: Iterable[tuple[int, bytes]]) -> bytes:
    """Events at absolute ticks, each made with a delta of 0, as events with their deltas."""
    now = 0
    pieces = []
    for tick, event in events:
        pieces.append(number(tick - now) + event[1:])
        now = tick
    return b"".join(pieces)
