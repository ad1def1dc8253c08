"""Counterpoint: inventions, fugues and canons, woven from a subject over a plan of harmony."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from jaxmusic.midi import Note

from . import melody
from .harmony import Span, at, progression
from .keys import Key, position_of
from .melody import Slot
from .phrases import choose, durations
from .score import QUARTER, WHOLE, Score

Subject = tuple[tuple[int, int, int], ...]  # (tick, length, steps from its first note's tonic)

# A plan is one line a bar: its chords, then what each voice does from the highest down.
#   S+n  the subject, n steps above the written one (I+n the subject upside down)
#   H+n,m its first half twice, at two heights: a sequence
#   e q s f  free notes: eighths, quarters, sixteenths, mixed; c a cadence's rhythm
#   b  the chords' basses; r rests; x a last long note
INVENTION_MAJOR = """
I V        ; S+0   ; r
I V        ; e     ; S+0
V>I V      ; S+4   ; e
V>I V      ; e     ; S+4
V>vi ii    ; H+5,1 ; e
V>V I      ; H+4,0 ; e
V>ii6 V7   ; c     ; b
V>I V      ; e     ; S+4
vi>i V     ; S-2   ; e
vi>i V     ; e     ; S-2
ii V       ; e     ; H+1,-3
I IV       ; e     ; H+0,-4
ii65 V     ; s     ; e
I IV       ; I+0   ; e
I IV       ; e     ; I+0
I V        ; S+0   ; e
I V        ; e     ; S+0
V7/IV IV   ; s     ; e
ii65 V7    ; c     ; b
I          ; x     ; x
"""
INVENTION_MINOR = """
i V        ; S+0   ; r
i V        ; e     ; S+0
i V        ; f     ; e
v>i V      ; S+4   ; e
v>i V      ; e     ; S+4
iv VII     ; H+3,6 ; e
III VI     ; H+2,5 ; e
III>ii6 V7 ; c     ; b
III>I V    ; e     ; S+2
III>I V    ; S+2   ; e
iv>i V     ; e     ; S-4
iv>i V     ; S-4   ; e
i iv       ; e     ; I+0
i iv       ; I+0   ; e
iiø65 V    ; s     ; e
i V        ; e     ; S+0
i V        ; S+0   ; e
V7/iv iv   ; s     ; e
i64 V7     ; c     ; b
i          ; x     ; x
"""
FUGUE_MAJOR = """
I V        ; r     ; S+0   ; r
V>I V      ; S+4   ; e     ; r
IV V       ; f     ; e     ; r
I V        ; f     ; e     ; S+0
vi ii      ; H+5,1 ; q     ; e
V I        ; H+4,0 ; q     ; e
vi>ii65? V ; c     ; q     ; b
vi>i V     ; q     ; S+5   ; e
vi>i V     ; f     ; e     ; S-2
ii V       ; e     ; q     ; H+1,-3
I IV       ; e     ; q     ; H+0,-4
ii65 V     ; f     ; q     ; b
IV>I V     ; S+3   ; q     ; e
IV>I V     ; e     ; S+3   ; q
ii V7      ; e     ; f     ; b
I V        ; S+0   ; q     ; e
I V        ; e     ; q     ; S+0
I IV       ; I+0   ; e     ; q
V7/IV IV   ; e     ; q     ; b
ii65 V7    ; c     ; q     ; b
I          ; x     ; x     ; x
""".replace("ii65? V ", "iiø65 V ")
FUGUE_MINOR = """
i V        ; r     ; S+0   ; r
v>i V      ; S+4   ; e     ; r
iv V       ; f     ; e     ; r
i V        ; f     ; e     ; S+0
iv VII     ; H+3,6 ; q     ; e
III VI     ; H+2,5 ; q     ; e
III>ii65 V ; c     ; q     ; b
III>I V    ; q     ; S+2   ; e
III>I V    ; f     ; e     ; S+2
iv VII     ; e     ; q     ; H-4,-1
III iiø65  ; e     ; q     ; e
iv>i V     ; S+3   ; q     ; e
iv>i V     ; e     ; S+3   ; q
iiø65 V    ; e     ; f     ; b
i V        ; S+0   ; q     ; e
i V        ; e     ; q     ; S+0
i iv       ; I+0   ; e     ; q
V7/iv iv   ; e     ; q     ; b
i64 V7     ; c     ; q     ; b
I          ; x     ; x     ; x
"""


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
    i_v = "i V" if key.minor else "I V"
    spans = progression(key, f"{i_v} | {i_v.split()[0]}", weave.bar)
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
    leaps = sum(1 for a, b in zip(positions, positions[1:], strict=False) if abs(b - a) in (3, 4))
    same = sum(1 for a, b in zip(positions, positions[1:], strict=False) if a == b)
    return len(set(positions)) + 2 * min(leaps, 2) - 2 * same


def weave_piece(weave: Weave, major: str, minor: str) -> Callable[[Key, Random], Score]:
    """A form that carries out a plan."""

    def compose(key: Key, rng: Random) -> Score:
        lines = [line for line in (minor if key.minor else major).strip().splitlines()]
        rows = [[cell.strip() for cell in line.split(";")] for line in lines]
        spans: list[Span] = []
        for number, row in enumerate(rows):
            spans += _bar_of(key, row[0], weave.bar, number * weave.bar)
        theme = subject(key, weave, rng, 28)
        count = len(weave.compasses)
        drafts = [
            [slot for number, row in enumerate(rows)
             for slot in _slots(row[1 + voice], weave, theme, key, spans, number,
                                weave.compasses[voice])]
            for voice in range(count)
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
        return Score(weave.title, key.name, weave.meter, weave.tempo,
                     tuple(tuple(finished[voice]) for voice in range(count)))

    return compose


def _order(count: int) -> list[int]:
    """Outer voices first, they are heard most."""
    return [0, count - 1, *range(1, count - 1)]


def _bar_of(key: Key, text: str, bar: int, start: int) -> list[Span]:
    return progression(key, text, bar, start)


def _slots(
    code: str, weave: Weave, theme: Subject, key: Key, spans: list[Span], number: int,
    compass: tuple[str, str],
) -> list[Slot]:
    """One bar of one voice."""
    start, bar = number * weave.bar, weave.bar
    low, high = (position_of(name) for name in compass)
    sixteenths = bar * 4 // QUARTER
    kind = code[0]
    if kind == "r":
        return []
    if kind in "SIH":
        shifts = [int(shift) for shift in code[1:].split(",")]
        upside = -1 if kind == "I" else 1
        found = []
        for place, shift in enumerate(shifts):
            for tick, length, steps in theme:
                # Inverted about the third, tonic and dominant change places: the chord stays.
                position = shift + (4 - steps if upside < 0 else steps)
                if kind == "H":
                    half = bar // len(shifts)
                    if tick >= half:
                        continue
                    when, span = start + place * half + tick, min(length, half - tick)
                else:
                    when, span = start + tick, length
                found.append((when, span, position))
        tonic = key.letter % 7
        middle = (low + high) // 2
        octave = min(range(7 * 2, 7 * 8, 7), key=lambda base: abs(
            sum(base + tonic + position for _, _, position in found) / len(found) - middle))
        return [Slot(when, span, at(spans, when).chord, _strength(when, weave),
                     fixed=octave + tonic + position) for when, span, position in found]
    rhythms = {"e": [2] * (sixteenths // 2), "q": [4] * (sixteenths // 4),
               "s": [1] * sixteenths, "x": [sixteenths],
               "f": [4, 2, 2] * (sixteenths // 8) or [4, 2, 2],
               "c": [2, 1, 1] * (sixteenths // 8) + [sixteenths // 2 - 2, 2],
               "b": [sixteenths // 2, sixteenths // 2]}
    if weave.meter[0] == 3:
        rhythms |= {"f": [4, 2, 2, 4], "c": [2, 1, 1, 4, 4], "b": [8, 4]}
    if weave.meter == (6, 8):
        rhythms |= {"q": [4, 2, 4, 2], "f": [6, 4, 2], "c": [2, 2, 2, 6], "b": [6, 6]}
    lengths = rhythms[kind]
    if sum(lengths) != sixteenths:
        lengths = [*lengths, sixteenths - sum(lengths)]
    slots, tick = [], start
    for length in lengths:
        chord = at(spans, tick).chord
        fixed = None
        if kind == "b" or (kind == "x" and low < position_of("C3")):
            letter = chord.letters[chord.bass]
            fixed = min((place for place in range(low, high + 1) if place % 7 == letter),
                        key=lambda place: (abs(place - (low + high) // 2 + 2), place))
        slots.append(Slot(tick, length * QUARTER // 4, chord, _strength(tick, weave),
                          fixed=fixed, ends=kind == "x"))
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
