"""Counterpoint: inventions, fugues and canons, woven from a subject over a plan of harmony."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from jaxmusic.midi.types import Note

from .. import melody
from ..harmony import Span, at, progression
from ..keys import Key, position_of
from ..melody import Slot
from ..score import QUARTER, WHOLE, Score
from .phrases import choose, durations, under

Subject = tuple[tuple[int, int, int], ...]  # (tick, length, steps from its first note's tonic)

@dataclass(frozen=True)
class Weave:
    """A kind of contrapuntal piece: metre, the subject's rhythm, the voices' compasses."""

    title: str
    meter: tuple[int, int]
    tempo: float
    subjects: tuple[str, ...]  # rhythms in sixteenths, a bar each
    compasses: tuple[tuple[str, str], ...]  # of each voice, highest first

    @property
    def bar(self) -> int:
        return WHOLE * self.meter[0] // self.meter[1]

    @property
    def beat(self) -> int:
        return QUARTER * 3 // 2 if self.meter[1] == 8 else QUARTER


def subject(key: Key, weave: Weave, rng: Random, low: int) -> Subject:
    """A bar over tonic and dominant that leads on to the tonic's third or root."""
    tonic_chord = "i" if key.minor else "I"
    spans = progression(key, f"{tonic_chord} V | {tonic_chord}", weave.bar)
    tick, slots = 0, []
    for length in durations(choose(rng, weave.subjects)):
        if length > 0:
            slots.append(Slot(tick, length, at(spans, tick).chord,
                              2 if tick == 0 else int(tick % weave.beat == 0),
                              aim=low + 2 + (5 * tick) // weave.bar))
        tick += abs(length)
    tonic = low + (key.letter - low) % 7
    slots[0] = replace(slots[0], fixed=tonic)
    slots.append(Slot(weave.bar, QUARTER, spans[-1].chord, 2, fixed=tonic + 2))
    best: list[int] = []
    for _ in range(6):
        found = melody.compose(slots, tonic - 2, tonic + 7, rng)
        # A subject needs a face: the one of six with the most different notes and a leap.
        if not best or _face(found) > _face(best):
            best = found
    return tuple((slot.start, slot.length, position - tonic)
                 for slot, position in zip(slots[:-1], best, strict=False))


def _face(positions: Sequence[int]) -> int:
    leaps = sum(1 for a, b in pairwise(positions) if abs(b - a) in (3, 4))
    same = sum(1 for a, b in pairwise(positions) if a == b)
    return len(set(positions)) + 2 * min(leaps, 2) - 2 * same


def weave_piece(weave: Weave, major: str, minor: str) -> Callable[[Key, Random], Score]:
    """A form that carries out a plan."""

    def compose(key: Key, rng: Random) -> Score:
        lines = (minor if key.minor else major).strip().splitlines()
        rows = [[cell.strip() for cell in line.split(";")] for line in lines]
        spans: list[Span] = []
        for number, row in enumerate(rows):
            spans += progression(key, row[0], weave.bar, number * weave.bar)
        theme = subject(key, weave, rng, 28)
        count = len(weave.compasses)
        drafts = [
            [slot for number, row in enumerate(rows)
             for slot in _slots(row[1 + voice], theme, _Room(
                 weave, key, spans, number * weave.bar, *map(position_of, compass)))]
            for voice, compass in enumerate(weave.compasses)
        ]
        finished: dict[int, list[Note]] = {}
        for voice in _order(count):
            low, high = (position_of(name) for name in weave.compasses[voice])
            others = [_sounding(notes) for notes in finished.values()]
            for waiting in range(count):
                if waiting != voice and waiting not in finished:
                    fixed = [slot for slot in drafts[waiting] if slot.fixed is not None]
                    others.append(_sounding(_notes(fixed, [slot.fixed or 0 for slot in fixed], 0)))
            positions = melody.compose(drafts[voice], low, high, rng, others=others, strict=True)
            finished[voice] = _notes(drafts[voice], positions, 80 - 3 * voice)
        last = finished[0][-1]  # the end is a full chord: the upper hand adds what it can reach
        finished[0] += [last._replace(pitch=pitch)
                        for pitch in under(last.pitch, spans[-1].chord.classes, 4 - count)]
        return Score(weave.title, key.name, weave.meter, weave.tempo,
                     tuple(tuple(finished[voice]) for voice in range(count)))

    return compose


def _order(count: int) -> list[int]:
    """Outer voices first, they are heard most."""
    return [0, count - 1, *range(1, count - 1)]


@dataclass(frozen=True)
class _Room:
    """Where a bar of a voice is written."""

    weave: Weave
    key: Key
    spans: list[Span]
    start: int  # ticks
    low: int  # staff positions
    high: int

    def slot(self, tick: int, length: int, fixed: int | None = None, ends: bool = False) -> Slot:
        return Slot(tick, length, at(self.spans, tick).chord, _strength(tick, self.weave),
                    fixed=fixed, ends=ends)


def _slots(code: str, theme: Subject, room: _Room) -> list[Slot]:
    """One bar of one voice, as the plan's code wants it."""
    if code == "r":
        return []
    if code[0] in "SIH":
        return _entry(code, theme, room)
    return _free(code, room)


def _entry(code: str, theme: Subject, room: _Room) -> list[Slot]:
    """The subject, its inversion or its head, in the octave nearest the voice's middle."""
    shifts = [int(shift) for shift in code[1:].split(",")]
    part = room.weave.bar // len(shifts)
    found = []
    for place, shift in enumerate(shifts):
        for tick, length, steps in theme:
            if tick < part:
                # Inverted about the third, tonic and fifth change places: the chord stays.
                position = shift + (4 - steps if code[0] == "I" else steps)
                found.append((room.start + place * part + tick, min(length, part - tick), position))
    mean = room.key.letter + sum(position for _, _, position in found) / len(found)
    middle = (room.low + room.high) // 2
    octave = min(range(14, 56, 7), key=lambda base: abs(base + mean - middle))
    return [room.slot(tick, length, octave + room.key.letter + position)
            for tick, length, position in found]


def _free(kind: str, room: _Room) -> list[Slot]:
    """Notes to be found, in the rhythm that the letter means."""
    sixteenths = room.weave.bar * 4 // QUARTER
    rhythms = {"e": [2] * (sixteenths // 2), "s": [1] * sixteenths, "x": [sixteenths]}
    if room.weave.meter == (6, 8):
        rhythms |= {"q": [4, 2, 4, 2], "f": [6, 4, 2], "c": [2, 2, 2, 6], "b": [6, 6]}
    else:
        rhythms |= {"q": [4] * 4, "f": [4, 2, 2] * 2, "c": [2, 1, 1] * 2 + [6, 2], "b": [8, 8]}
    slots, tick = [], room.start
    for length in rhythms[kind]:
        fixed = None
        if kind == "b" or (kind == "x" and room.low < position_of("C3")):
            chord = at(room.spans, tick).chord
            letter = chord.letters[chord.bass]
            fixed = min((place for place in range(room.low, room.high + 1) if place % 7 == letter),
                        key=lambda place: (abs(place - (room.low + room.high) // 2 + 2), place))
        slots.append(room.slot(tick, length * QUARTER // 4, fixed, kind == "x"))
        tick += length * QUARTER // 4
    return slots


def _strength(tick: int, weave: Weave) -> int:
    return 2 if tick % weave.bar == 0 else int(tick % weave.beat == 0)


def _notes(slots: Sequence[Slot], positions: Sequence[int], velocity: int) -> list[Note]:
    return [Note(slot.start, slot.start + slot.length, pitch, velocity)
            for slot, pitch in zip(slots, melody.finish(slots, positions), strict=True)]


def _sounding(notes: Sequence[Note]) -> melody.Voice:
    starts = [note.start for note in notes]

    def voice(tick: int) -> int | None:
        place = bisect_right(starts, tick) - 1
        return notes[place].pitch if place >= 0 and notes[place].end > tick else None

    return voice


@dataclass(frozen=True)
class Canon:
    """Voices that follow each other at a ground's length over that ground."""

    title: str
    meter: tuple[int, int]
    tempo: float
    ground: str  # its harmony
    rhythms: tuple[str, ...]  # a bar of sixteenths for each strain, the ground's bars alike
    voices: int
    drop: int  # octaves by which each follower is lower
    compass: tuple[str, str]


def canon(one: Canon) -> Callable[[Key, Random], Score]:
    """The canon: each strain of the leader is fitted to the strains that the followers play."""

    def compose(key: Key, rng: Random) -> Score:
        bar = WHOLE * one.meter[0] // one.meter[1]
        spans = progression(key, one.ground, bar)
        length = spans[-1].end
        low, high = (position_of(name) for name in one.compass)
        bass = [Note(span.start, span.end, _bass(span), 66) for span in spans]
        strains: list[list[Note]] = []
        start = None
        for number, rhythm in enumerate(one.rhythms):
            slots: list[Slot] = []
            for tick in range(0, length, bar):
                begins, now = len(slots), tick
                for long in durations(rhythm):
                    slots.append(Slot(now, long, at(spans, now).chord,
                                      2 if now == tick else int(now % QUARTER == 0),
                                      like=len(slots) - begins if tick and tick % (2 * bar) == 0
                                      and len(slots) > begins else None))
                    now += long
            others = [_sounding(bass)]
            for back in range(1, one.voices):
                if number >= back:
                    others.append(_sounding([
                        note._replace(pitch=note.pitch - 12 * one.drop * back)
                        for note in strains[number - back]]))
            positions = melody.compose(slots, low, high, rng, others=others, strict=True,
                                       start=start, motif_weight=1.5)
            start = positions[-1]
            strains.append(_notes(slots, positions, 82))
        hands: list[list[Note]] = [[] for _ in range(one.voices + 1)]
        for turn in range(len(strains) + one.voices):
            offset = turn * length
            for voice in range(one.voices):
                if 0 <= turn - 1 - voice < len(strains):
                    hands[voice] += [
                        Note(note.start + offset, note.end + offset,
                             note.pitch - 12 * one.drop * voice, note.velocity - 3 * voice)
                        for note in strains[turn - 1 - voice]]
            hands[-1] += [Note(note.start + offset, note.end + offset, note.pitch, note.velocity)
                          for note in bass]
        end = (len(strains) + one.voices) * length
        tonic = progression(key, "i" if key.minor else "I", bar)[0].chord
        root = bass[0].pitch
        third = root + (tonic.classes[1] - tonic.classes[0]) % 12
        for hand, pitch in zip(hands[::-1], (root, root + 19, third + 24, root + 24), strict=False):
            hand.append(Note(end, end + bar, pitch, 70))
        return Score(one.title, key.name, one.meter, one.tempo,
                     tuple(tuple(hand) for hand in hands))

    return compose


def _bass(span: Span) -> int:
    """The ground's note: between E2 and D#3."""
    return 40 + (span.chord.bass_class - 40) % 12
