"""Phrases: rhythm and motif over a progression, with an accompaniment below."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from jaxmusic.midi.types import Note

from .. import figuration, melody
from ..figuration import Harmony
from ..harmony import Span, at, progression
from ..keys import Key, position_of
from ..melody import Slot
from ..score import QUARTER, WHOLE

SIXTEENTH = QUARTER // 4


@dataclass(frozen=True)
class Manner:
    """How a kind of piece moves: metre, rhythms and textures."""

    meter: tuple[int, int]
    cells: tuple[str, ...]  # a bar's rhythm in sixteenths each; a rest is negative
    half: str  # the bar of a half cadence
    final: str  # the bar of a full cadence
    figure: str  # the left hand's, a name in figuration.FIGURES
    strong: int = QUARTER  # ticks between strong beats
    low: str = "D4"  # the tune's compass
    high: str = "A5"
    hand: tuple[int, int] = (40, 62)  # the left hand's compass, MIDI pitches
    thick: int = 0  # chord notes added below the tune on strong beats
    motif: float = 3.0  # how much the motif binds
    velocity: int = 78
    rubato: bool = False  # whether phrases yield a little before they end

    @property
    def bar(self) -> int:
        return WHOLE * self.meter[0] // self.meter[1]


@dataclass(frozen=True)
class Strain:
    """A part of a piece from tick 0: its two hands, and the tune as it was found."""

    right: tuple[Note, ...]
    left: tuple[Note, ...]
    length: int
    slots: tuple[Slot, ...]
    positions: tuple[int, ...]
    spans: tuple[Span, ...]


def choose(rng: Random, options: Sequence[str]) -> str:
    """One of the options. (Random.choice differs between Python versions; this doesn't.)"""
    return options[int(rng.random() * len(options))]


def durations(text: str) -> list[int]:
    """Ticks of each note of a cell, rests below zero."""
    return [int(float(word) * SIXTEENTH) for word in text.split()]


def plan(bars: int, manner: Manner, rng: Random, full: bool, cells: dict[str, str]) -> list[str]:
    """The letter of each bar: the same letter is the same rhythm and the same motif.

    Four bars go a b a' close, the classical phrase; longer ones repeat their first two bars
    in sequence before they run to the close.
    """
    letters = {1: "x", 2: "ax", 3: "aax", 4: "abax", 5: "ababx", 6: "ababcx", 7: "ababcdx",
               8: "abacabdx", 12: "abacabaccdcx", 16: "abacabadcdceabdx"}.get(bars)
    if letters is None:
        letters = ("ab" * bars)[:bars - 2] + "cx"
    for letter in letters:
        if letter not in cells:
            others = [cell for cell in manner.cells if cell not in cells.values()]
            cells[letter] = choose(rng, others or manner.cells)
    cells["x"] = manner.final if full else manner.half
    return list(letters)


def strain(
    key: Key, text: str, manner: Manner, rng: Random, cells: dict[str, str], *,
    full: bool, motif: Sequence[int] = (), inverted: bool = False, start: int | None = None,
    opening: Sequence[int] = (), closing: bool = True,
) -> Strain:
    """A strain over a progression. `cells` keeps the piece's rhythms from strain to strain;
    `motif` are the steps with which the tune should begin, upside down if `inverted`,
    `opening` the staff positions with which it must begin."""
    spans = progression(key, text, manner.bar)
    bars = spans[-1].end // manner.bar
    letters = plan(bars, manner, rng, full, cells)
    low, high = position_of(manner.low), position_of(manner.high)
    slots: list[Slot] = []
    first_of: dict[str, int] = {}  # letter -> its first bar's first slot
    for number, letter in enumerate(letters):
        tick = number * manner.bar
        begins = len(slots)
        repeats = letter in first_of
        first_of.setdefault(letter, begins)
        for length in durations(cells[letter]):
            if length < 0:
                tick -= length
                continue
            inside = len(slots) - begins
            slots.append(Slot(
                tick, length, at(spans, tick).chord,
                2 if tick % manner.bar == 0 else 1 if tick % manner.strong == 0 else 0,
                like=first_of[letter] + inside if repeats and inside else None,
                aim=low + 2 + round((high - low - 4) * _arc(tick / (bars * manner.bar))),
            ))
            tick += length
    for place, step in enumerate(motif, start=1):
        if place < len(slots) and slots[place].start < 2 * manner.bar:
            slots[place] = replace(slots[place], want=step, inverted=inverted)
    for place, position in enumerate(opening):
        slots[place] = replace(slots[place], fixed=position)
    slots[-1] = replace(slots[-1], ends=full)
    harmonies = [Harmony(span.start, span.length, span.chord.classes, span.chord.bass_class)
                 for span in spans]
    basses = [bass for bass, _ in figuration.lay_out(harmonies, *manner.hand)]

    def bass_at(tick: int) -> int:
        place = next((place for place, span in enumerate(spans) if tick < span.end), -1)
        return basses[place]

    positions = melody.compose(slots, low, high, rng, start=start, others=(bass_at,),
                               motif_weight=manner.motif)
    return render(manner, slots, positions, spans, closing)


def _arc(part: float) -> float:
    """The height of a tune at a part of its strain: it climbs to a climax past the middle.

    (Parabolas, not a sine: libraries differ in a sine's last bit, and a note would move.)
    """
    slope = (0.6 - part) / (0.6 if part < 0.6 else 0.4)
    return 0.95 - 0.7 * slope * slope


def render(
    manner: Manner, slots: Sequence[Slot], positions: Sequence[int], spans: Sequence[Span],
    closing: bool = True,
) -> Strain:
    """Notes for a tune and its chords in a manner; a closing bar's left hand comes to rest."""
    length = spans[-1].end
    pitches = melody.finish(slots, positions)
    right: list[Note] = []
    for slot, pitch in zip(slots, pitches, strict=True):
        velocity = manner.velocity + max(-8, min(10, (pitch - 72) // 2))
        end = slot.start + slot.length
        right.append(Note(slot.start, end, pitch, velocity))
        if manner.thick and slot.strong and slot.length >= QUARTER // 2:
            right += [Note(slot.start, end, below, velocity - 10)
                      for below in under(pitch, slot.chord.classes, manner.thick)]
    harmonies = [Harmony(span.start, span.length, span.chord.classes, span.chord.bass_class)
                 for span in spans]
    styles = [manner.figure] * len(harmonies)
    if closing and harmonies[-1].length >= manner.bar:
        styles[-1] = "block"
    left = figuration.accompany(styles, harmonies, manner.velocity - 18, *manner.hand)
    return Strain(tuple(right), tuple(left), length, tuple(slots), tuple(positions), tuple(spans))


def under(pitch: int, classes: Sequence[int], count: int) -> list[int]:
    """Chord tones below a tune's note, a third away or more and within an octave."""
    if pitch % 12 not in classes:
        return []
    found = [below for below in range(pitch - 3, pitch - 10, -1)
             if below % 12 in classes and below >= 55]
    return found[:count]


def steps(one: Strain, bars: int, bar: int) -> list[int]:
    """The steps of a strain's first bars: its motif."""
    heads = [place for place, slot in zip(one.positions, one.slots, strict=True)
             if slot.start < bars * bar]
    return [b - a for a, b in pairwise(heads)]


def period(
    key: Key, text: tuple[str, str], manner: Manner, rng: Random, cells: dict[str, str], *,
    motif: Sequence[int] = (), inverted: bool = False, start: int | None = None,
) -> tuple[Strain, Strain]:
    """Antecedent and consequent: the second begins as the first did, and closes."""
    first = strain(key, text[0], manner, rng, cells, full=False, motif=motif, inverted=inverted,
                   start=start, closing=False)
    same = [place for place, slot in zip(first.positions, first.slots, strict=True)
            if slot.start < 2 * manner.bar]
    second = strain(key, text[1], manner, rng, cells, full=True, opening=same)
    return first, second


def join(strains: Sequence[Strain]) -> tuple[list[Note], list[Note], int]:
    """Strains played one after the other."""
    right: list[Note] = []
    left: list[Note] = []
    now = 0
    for one in strains:
        right += shifted(one.right, now)
        left += shifted(one.left, now)
        now += one.length
    return right, left, now


def shifted(notes: Sequence[Note], ticks: int) -> list[Note]:
    return [note._replace(start=note.start + ticks, end=note.end + ticks) for note in notes]


def diminished(one: Strain, manner: Manner, unit: int, rng: Random) -> Strain:
    """A variation: the tune's notes filled up to a running line in notes of `unit` ticks."""
    low, high = position_of(manner.low), position_of(manner.high)
    slots: list[Slot] = []
    end = one.length - manner.bar if one.slots[-1].length >= manner.bar // 2 else one.length
    for place, slot in enumerate(one.slots):
        if slot.start >= end or slot.length <= unit:
            slots.append(replace(slot, fixed=one.positions[place], like=None, want=None, aim=None))
            continue
        count = slot.length // unit
        for inside in range(count):
            tick = slot.start + inside * unit
            slots.append(Slot(
                tick, unit if inside < count - 1 else slot.start + slot.length - tick,
                at(list(one.spans), tick).chord,
                slot.strong if inside == 0 else int(tick % manner.strong == 0),
                fixed=one.positions[place] if inside == 0 else None,
                like=len(slots) - 4 * count if inside and len(slots) > 4 * count else None,
            ))
    positions = melody.compose(slots, low, high, rng, motif_weight=1.5)
    return render(manner, slots, positions, one.spans)
