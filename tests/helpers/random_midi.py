"""Random MIDI files for tests: hypothesis strategies, and a generator for denser ones."""

import io
import random
from typing import Any

import mido
from helpers.midi_bytes import (
    chunk,
    header,
    key,
    meta,
    meter,
    midi,
    number,
    off,
    on,
    played,
    program,
    tempo,
    timeline,
    track,
)
from hypothesis import strategies as st

# Ticks a quarter; the last two are SMPTE frames, of 24 and 29 ticks.
DIVISIONS = (1, 2, 7, 24, 48, 96, 100, 120, 192, 384, 480, 1024, 15360, 32767, 0xE718, 0xE21D)


def ticks_of(division: int) -> int:
    """Ticks a quarter."""
    return 1024 if division & 0x8000 else division


@st.composite
def many(draw: st.DrawFn, element: st.SearchStrategy[Any]) -> list[Any]:
    """A list that is often long: left alone, hypothesis makes most lists short."""
    least = draw(st.sampled_from((1, 5, 15, 30, 60)))
    return draw(st.lists(element, min_size=least, max_size=least + 10))


@st.composite
def events(draw: st.DrawFn, division: int) -> bytes:
    """Events in no order: notes left sounding, struck again, ended twice."""
    quarter = ticks_of(division)
    delta = st.one_of(
        st.just(0),
        st.sampled_from([quarter * n // 48 for n in (1, 2, 3, 4, 6, 8, 12, 14, 16, 24, 36, 48)]),
        st.integers(0, quarter // 8 + 1),
        st.integers(0, 3 * quarter),
    )
    pitch = st.sampled_from((60, 60, 60, 61, 62, 64, 0, 127))
    channel = st.sampled_from((0, 0, 0, 0, 1, 9))
    event = st.one_of(
        st.builds(on, delta, pitch, st.sampled_from((64, 64, 64, 1, 0)), channel),
        st.builds(on, delta, pitch, st.just(64), channel),
        st.builds(off, delta, pitch, channel),
        st.builds(program, delta, st.sampled_from((0, 0, 0, 1, 2, 40, 73, 127)), channel),
        st.one_of(
            st.builds(tempo, delta),
            st.builds(meter, delta, st.integers(1, 12), st.integers(0, 5)),
            st.builds(key, delta, st.integers(-7, 7), st.integers(0, 1)),
            st.builds(meta, delta, st.sampled_from((1, 3, 5, 6, 0x7F)), st.binary(max_size=3)),
            st.builds(
                lambda wait, kind, value: number(wait) + bytes((0xB0, kind, value)),
                delta,
                st.sampled_from((7, 64, 123)),
                st.integers(0, 127),
            ),
            st.builds(
                lambda wait, low: number(wait) + bytes((0xE0, low, 64)), delta, st.integers(0, 9)
            ),
            st.builds(
                lambda wait, data: number(wait) + b"\xf0" + number(len(data)) + data,
                delta,
                st.sampled_from((b"\x7e\xf7", b"\x01\x02\xf7")),
            ),
        ),
    )
    return b"".join(draw(many(event)))


@st.composite
def notes(draw: st.DrawFn, division: int) -> bytes:
    """Notes that begin and end nearly together, overlap and touch, among marks."""
    quarter = ticks_of(division)
    onset = st.sampled_from([quarter * n // 12 for n in range(61)])
    length = st.sampled_from([quarter * n // 12 for n in (0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 30)])
    shift = st.sampled_from((0, 0, 0, 0, 1, quarter // 16, quarter // 16 + 1, quarter // 9))
    note = st.tuples(onset, shift, length, shift, st.integers(50, 75), st.integers(0, 1))
    timed: list[tuple[int, int, bytes]] = []
    for start, late, lasting, more, pitch, channel in draw(many(note)):
        timed += note_events(start + late, lasting + more, pitch, channel)
    mark = st.tuples(
        onset,
        st.just(-1),
        st.one_of(
            st.builds(program, st.just(0), st.sampled_from((0, 0, 0, 40, 1, 2))),
            st.sampled_from((tempo(0), meter(0), key(0))),
        ),
    )
    timed += draw(st.lists(mark, max_size=5))
    return in_order(timed)


@st.composite
def crowds(draw: st.DrawFn, division: int) -> bytes:
    """Notes of many lengths on a coarse grid, so that voices run out."""
    quarter = ticks_of(division)
    point = st.sampled_from([quarter * n // 12 for n in (0, 3, 4, 6, 8, 9, 12, 15, 16, 18, 20, 24)])
    length = st.sampled_from([quarter * n // 12 for n in (0, 1, 3, 4, 5, 7, 8, 9, 12, 20)])
    pairs = draw(many(st.tuples(point, length)))
    return played(*((start, start + lasting, 40 + n) for n, (start, lasting) in enumerate(pairs)))


@st.composite
def conductors(draw: st.DrawFn, division: int) -> bytes:
    """A track without notes."""
    delta = st.integers(0, 8 * ticks_of(division))
    event = st.one_of(
        st.builds(tempo, delta),
        st.builds(meter, delta),
        st.builds(key, delta),
        st.builds(program, delta, st.sampled_from((0, 40))),
        st.builds(on, delta, st.just(60), st.just(0)),
    )
    return b"".join(draw(st.lists(event, max_size=4)))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    division = draw(st.sampled_from(DIVISIONS))
    body = st.one_of(
        notes(division), crowds(division), events(division), crowds(division), conductors(division)
    )
    tracks = draw(st.lists(body, min_size=1, max_size=4))
    return midi(
        *(track(body) for body in tracks),
        division=division,
        midi_format=draw(st.integers(0, 1)),
    )


@st.composite
def packed_files(draw: st.DrawFn) -> bytes:
    """Files of one track whose channel messages leave out a status that they repeat."""
    division = draw(st.sampled_from(DIVISIONS))
    body = draw(st.one_of(notes(division), events(division)))
    pieces = []
    status = 0
    for message in mido.MidiFile(file=io.BytesIO(midi(track(body)))).tracks[0]:
        data = bytes(message.bytes())
        if message.is_meta or message.type == "sysex":
            status = 0  # running status does not outlive them
            if message.type == "sysex":
                data = data[:1] + number(len(data) - 1) + data[1:]
        elif data[0] == status:
            data = data[1:]
        else:
            status = data[0]
        pieces.append(number(message.time) + data)
    return midi(chunk(b"MTrk", b"".join(pieces)), division=division)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Files with bytes changed, put in and taken out."""
    data = bytearray(draw(st.one_of(files(), packed_files())))
    first = len(header(0))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(first, len(data) - 1))
        damage = draw(st.sampled_from(("change", "change", "insert", "delete")))
        byte = draw(
            st.one_of(
                st.integers(0, 255),
                st.sampled_from((0x80, 0x90, 0xC0, 0xF0, 0xF8, 0xFF, 0x59, 0x58)),
            )
        )
        if damage == "change":
            data[place] = byte
        elif damage == "insert":
            data.insert(place, byte)
        elif len(data) > first + 1:
            del data[place]
    return bytes(data)


def dense_file(seed: int) -> bytes:
    """A file of many overlapping notes. Hypothesis is shy of such: it likes examples short."""
    rng = random.Random(seed)
    division = rng.choice(DIVISIONS)
    quarter = ticks_of(division)
    points = rng.choice((range(0, 24, 3), range(0, 24, 4), range(24), range(60)))
    lengths = rng.choice(((3, 4, 5, 8, 9, 12), (0, 1, 3, 4), (0, 2, 5, 9, 20, 24, 40)))
    jitters = rng.choice(((0,), (0,), (0, 0, 0, 1, quarter // 16, quarter // 16 + 1)))
    programs = rng.choice(((0,), (0, 0, 40), (0, 1, 2, 40)))
    tracks = []
    for _ in range(rng.randint(1, 3)):
        timed: list[tuple[int, int, bytes]] = []
        for _ in range(rng.randint(2, 80)):
            start = quarter * rng.choice(points) // 12 + rng.choice(jitters)
            lasting = quarter * rng.choice(lengths) // 12 + rng.choice(jitters)
            timed += note_events(start, lasting, rng.randint(36, 96), rng.randint(0, 1))
        for _ in range(rng.choice((0, 1, 3, 6))):
            change = program(0, rng.choice(programs))
            mark = rng.choice((change, change, tempo(0), meter(0), key(0)))
            timed.append((quarter * rng.choice(points) // 12, -1, mark))
        tracks.append(track(in_order(timed)))
    return midi(*tracks, division=division)


def note_events(start: int, length: int, pitch: int, channel: int) -> list[tuple[int, int, bytes]]:
    """A note's two events: (tick, rank at that tick, bytes with a delta of 0)."""
    return [
        (start, 1, on(0, pitch, 64, channel)),
        (start + length, 0 if length else 2, off(0, pitch, channel)),
    ]


def in_order(timed: list[tuple[int, int, bytes]]) -> bytes:
    ordered = sorted(timed, key=lambda event: event[:2])
    return timeline((tick, event) for tick, _, event in ordered)
