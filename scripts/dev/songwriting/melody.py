"""Melodies: a line over chords, found by a beam search that knows the rules of good lines.

A line is a row of slots, each with its chord. The search weighs what a teacher would mark:
strong beats take chord tones, other notes pass by step; leaps are turned back; sevenths fall
and leading tones rise; the outer voices avoid parallel fifths and octaves; a motif comes back
in its own intervals.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from .harmony import Chord
from .keys import midi_pitch
from .score import QUARTER

BEAM = 48  # lines kept at each slot
_LEAP_COST = (3, 0, 1, 3, 4, 6, 9, 9, 12)  # by steps; 7 steps are an octave


@dataclass(frozen=True)
class Slot:
    """A note to be found."""

    start: int  # ticks
    length: int  # ticks
    chord: Chord
    strong: int  # 2 the bar's first beat, 1 another beat, 0 between beats
    want: int | None = None  # steps from the note before that a motif asks for
    like: int | None = None  # an earlier slot of the line whose step it should repeat
    inverted: bool = False  # ... upside down
    fixed: int | None = None  # the staff position it must take
    aim: int | None = None  # a staff position that it should lie near
    ends: bool = False  # the phrase's last note: one of the tonic chord


Voice = Callable[[int], int | None]  # tick -> MIDI pitch sounding in another voice


@dataclass(frozen=True)
class _Line:
    cost: float
    positions: tuple[int, ...]
    pitches: tuple[int, ...]
    tones: tuple[bool, ...]  # whether each is a chord tone


def compose(
    slots: Sequence[Slot], low: int, high: int, rng: Random, *,
    start: int | None = None, others: Sequence[Voice] = (), motif_weight: float = 3.0,
    strict: bool = False,
) -> list[int]:
    """Staff positions for the slots, between `low` and `high`, near `start` at first.

    `others` are voices already written: the line keeps clear of parallels with them, and where
    `strict` (true counterpoint) consonant on the beats.
    """
    middle = start if start is not None else (low + high) // 2
    heard = [[other(slot.start) for slot in slots] for other in others]
    lines = [_Line(0.0, (), (), ())]
    for place, slot in enumerate(slots):
        # The choices of a human hand: small noise, the same for all lines at this place.
        noise = [rng.random() * 2.0 for _ in range(low, high + 1)]
        places = range(low, high + 1) if slot.fixed is None else (slot.fixed,)
        choices = [_Choice(position, *_pitch(slot.chord, position)) for position in places]
        costs = [_own_cost(slot, choice) for choice in choices]
        if slot.fixed is None:
            # The edges of the compass are for climaxes only.
            costs = [cost + noise[number] + (number in (0, high - low))
                     for number, cost in enumerate(costs)]
        grown: dict[tuple[int, ...], _Line] = {}
        for line in lines:
            for choice, own in zip(choices, costs, strict=True):
                position = choice.position
                cost = line.cost + own
                if line.positions:
                    if slot.fixed is None and abs(position - line.positions[-1]) > 7:
                        continue
                    cost += _step_cost(slots, place, line, choice, motif_weight)
                else:
                    cost += 1.5 * abs(position - middle)
                for other in heard:
                    cost += _pair_cost(slots, place, line, choice.pitch, other=other, strict=strict)
                state = (line.positions[-1] if line.positions else -1, position)
                if state not in grown or cost < grown[state].cost:
                    grown[state] = _Line(cost, (*line.positions, position),
                                         (*line.pitches, choice.pitch), (*line.tones, choice.tone))
        lines = sorted(grown.values(), key=lambda line: (line.cost, line.positions))[:BEAM]
    return list(lines[0].positions)


@lru_cache(maxsize=65536)
def _pitch(chord: Chord, position: int) -> tuple[int, bool]:
    return midi_pitch(position, chord.scale), position % 7 in chord.letters


@dataclass(frozen=True)
class _Choice:
    """A note that may come next."""

    position: int
    pitch: int
    tone: bool  # whether it belongs to the chord


def _own_cost(slot: Slot, choice: _Choice) -> float:
    cost = 0.0
    if slot.strong and not choice.tone:
        cost += 16 if slot.strong == 2 else 10
    if slot.ends:
        letter = choice.position % 7
        if letter != slot.chord.letters[0]:
            cost += 6 if letter in slot.chord.letters[1:3] else 30
        if not choice.tone:
            cost += 40
    if slot.aim is not None:
        cost += 0.5 * abs(choice.position - slot.aim)
    return cost


def _step_cost(
    slots: Sequence[Slot], place: int, line: _Line, choice: _Choice, motif_weight: float,
) -> float:
    """What the step from the line's last note to this one costs."""
    slot, before = slots[place], slots[place - 1]
    step = choice.position - line.positions[-1]
    return (_interval_cost(step, abs(choice.pitch - line.pitches[-1]),
                           before.chord is slot.chord)
            + _dissonance_cost(slot, line, choice, step, place == len(slots) - 1)
            + _turn_cost(line, step)
            + _tendency_cost(before.chord, slot.chord, line.pitches[-1], choice, step)
            + _motif_cost(slot, line, step, motif_weight))


def _interval_cost(step: int, semitones: int, same_chord: bool) -> float:
    size = abs(step)
    cost = float(_LEAP_COST[min(size, 8)])
    if size == 6 or (semitones == 6 and not same_chord):
        cost += 12  # sevenths, and tritones that no chord explains
    if size == 1 and semitones == 3:
        cost += 25  # the augmented second
    if (size == 0) != (semitones == 0):
        cost += 20  # chromatic change of one letter, or two letters that sound alike
    return cost


def _dissonance_cost(slot: Slot, line: _Line, choice: _Choice, step: int, last: bool) -> float:
    cost = 0.0
    if not line.tones[-1] and abs(step) != 1:
        cost += 30  # a dissonance leaves by step
    if not choice.tone:
        if abs(step) != 1:
            cost += 12 if slot.strong else 26  # and comes by step; an appoggiatura may leap
        elif slot.length > QUARTER or last:
            cost += 20
    return cost


def _turn_cost(line: _Line, step: int) -> float:
    if len(line.positions) < 2:
        return 0.0
    cost = 0.0
    former = line.positions[-1] - line.positions[-2]
    if abs(former) >= 3 and (former * step > 0 or abs(step) > 2):
        cost += 4 if abs(step) < 3 else 10  # a leap is turned back by step
    if step == 0 and former == 0:
        cost += 4
    if (abs(former) == 1 and step == -former and len(line.positions) > 3
            and line.positions[-3] == line.positions[-1]):
        cost += 5  # not to and fro for ever
    return cost


def _tendency_cost(before: Chord, after: Chord, last: int, choice: _Choice, step: int) -> float:
    if before is after:
        return 0.0
    cost = 0.0
    if last % 12 == before.seventh and step != -1 and not (step == 0 and choice.tone):
        cost += 6  # the seventh falls by step
    if (last % 12 == before.leading and choice.pitch % 12 != (last + 1) % 12
            and after.leading is None):
        cost += 6  # the leading tone rises
    return cost


def _motif_cost(slot: Slot, line: _Line, step: int, weight: float) -> float:
    want = slot.want
    if slot.like is not None and 0 < slot.like < len(line.positions):
        want = line.positions[slot.like] - line.positions[slot.like - 1]
    if want is None:
        return 0.0
    want = -want if slot.inverted else want
    return weight * (min(abs(step - want), 4) + (step * want < 0))


def _pair_cost(
    slots: Sequence[Slot], place: int, line: _Line, pitch: int, *,
    other: Sequence[int | None], strict: bool,
) -> float:
    """What the note costs beside another voice; `other` is its pitch at each slot's start."""
    slot, below = slots[place], other[place]
    if below is None:
        return 0.0
    cost = 0.0
    interval = abs(pitch - below) % 12
    if strict and slot.strong and interval in (1, 2, 5, 6, 10, 11):
        cost += 14 if interval in (1, 2, 11) else 7
    if strict and not slot.strong and interval in (0, 1, 11):
        cost += 2
    if place:
        cost += _parallel(other[place - 1], below, line.pitches[-1], pitch)
        # The same from beat to beat and from bar to bar: notes between don't hide parallels.
        for strong, weight in ((1, 0.7), (2, 0.4)):
            back = place - 1
            while back > 0 and slots[back].strong < strong:
                back -= 1
            if slot.strong >= strong and back != place - 1:
                cost += weight * _parallel(other[back], below, line.pitches[back], pitch)
    return cost


def _parallel(low_a: int | None, low_b: int, high_a: int, high_b: int) -> float:
    if low_a is None or low_a == low_b or high_a == high_b:
        return 0.0
    first, second = abs(high_a - low_a) % 12, abs(high_b - low_b) % 12
    if second in (0, 7) and first == second:
        return 30.0
    if second in (0, 7) and (low_b - low_a) * (high_b - high_a) > 0 and abs(high_b - high_a) > 2:
        return 6.0  # hidden: the upper voice leaps into it in similar motion
    return 0.0


def finish(slots: Sequence[Slot], positions: Sequence[int]) -> list[int]:
    """MIDI pitches of a line; in minor the melodic scale rises to the tonic.

    The sixth and seventh degrees are raised where the line climbs to the tonic or turns below
    it, unless the chord itself holds them natural.
    """
    pitches = [_pitch(slot.chord, position)[0]
               for slot, position in zip(slots, positions, strict=True)]
    for place in range(len(slots) - 2, -1, -1):
        slot, key = slots[place], slots[place].chord.key
        if not key.minor or positions[place] % 7 in slot.chord.letters:
            continue
        degree = (positions[place] - key.letter) % 7
        rise = positions[place + 1] - positions[place]
        above = (pitches[place + 1] - key.pitch_class) % 12
        tonic_or_dominant = slot.chord.letters[0] in (key.letter, (key.letter + 4) % 7)
        if rise == 1 and tonic_or_dominant and (
            (degree == 6 and above == 0) or (degree == 5 and above == 11)
        ):
            natural = key.scale[positions[place] % 7]
            if pitches[place] % 12 == natural:
                pitches[place] += 1
    return pitches
