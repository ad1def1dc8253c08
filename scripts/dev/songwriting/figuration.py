"""Accompaniments: how a chord is laid out in the left hand, and the figures played on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from jaxmusic.midi.types import Note

from .keys import ACCIDENTALS, LETTERS, NATURAL
from .score import QUARTER

QUALITIES = {
    "": (0, 4, 7), "m": (0, 3, 7), "dim": (0, 3, 6), "aug": (0, 4, 8), "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10), "maj7": (0, 4, 7, 11), "dim7": (0, 3, 6, 9), "m7b5": (0, 3, 6, 10),
    "sus4": (0, 5, 7), "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9), "9": (0, 4, 10, 2),
}


@dataclass(frozen=True)
class Harmony:
    """A chord that sounds for a while, as pitch classes."""

    start: int  # ticks
    length: int  # ticks
    classes: tuple[int, ...]  # 0-11, root first
    bass: int  # 0-11


def from_symbols(symbols: Sequence[str], start: int, length: int) -> list[Harmony]:
    """One bar of chord symbols; they share the bar evenly, two in three beats as 2 + 1."""
    shares = [1] * len(symbols)
    if len(symbols) == 2 and length % (3 * QUARTER) == 0:
        shares = [2, 1]
    if not symbols or length % sum(shares):
        raise ValueError(f"{len(symbols)} chords do not share a bar evenly")
    unit = length // sum(shares)
    harmonies: list[Harmony] = []
    for symbol, share in zip(symbols, shares, strict=True):
        if symbol == ".":
            if not harmonies:
                raise ValueError("a bar begins with '.', which holds the chord before")
            last = harmonies.pop()
            harmonies.append(Harmony(last.start, last.length + share * unit, last.classes,
                                     last.bass))
        else:
            classes, bass = read_symbol(symbol)
            harmonies.append(Harmony(start, share * unit, classes, bass))
        start += share * unit
    return harmonies


def read_symbol(symbol: str) -> tuple[tuple[int, ...], int]:
    """Pitch classes (root first) and bass of a symbol such as "F#m7b5" or "D7/F#"."""
    head, _, under = symbol.partition("/")
    root, rest = _class(head)
    if rest not in QUALITIES:
        raise ValueError(f"no such chord: {symbol!r}")
    classes = tuple((root + step) % 12 for step in QUALITIES[rest])
    if not under:
        return classes, root
    bass, rest = _class(under)
    if rest:
        raise ValueError(f"no such bass: {symbol!r}")
    return classes, bass


def _class(text: str) -> tuple[int, str]:
    """The pitch class that a text begins with, and the rest of the text."""
    if not text or text[0] not in LETTERS:
        raise ValueError(f"no such chord: {text!r}")
    sign = text[1] if len(text) > 1 and text[1] in "#b" else ""
    return (NATURAL[LETTERS.index(text[0])] + ACCIDENTALS[sign]) % 12, text[1 + len(sign):]


def lay_out(
    harmonies: Sequence[Harmony], low: int = 40, top: int = 64, voices: int = 3,
) -> list[tuple[int, tuple[int, ...]]]:
    """Bass pitch and `voices` upper pitches for each harmony, moving as little as they can.

    The least motion is found over the whole row of chords (dynamic programming): inner voices
    that stay or step are what makes an accompaniment sound joined.
    """
    options = []
    for harmony in harmonies:
        # A chord for which the room is too small may reach a little higher.
        found = [layout for layout in (_layouts(harmony, low, top + more, voices)
                                       for more in (0, 3, 6)) if layout]
        if not found:
            raise ValueError(f"no layout between {low} and {top} for {harmony}")
        options.append(found[0])
    costs = [[_start_cost(layout, low, top) for layout in options[0]]]
    back: list[list[int]] = []
    for place in range(1, len(options)):
        row, links = [], []
        for layout in options[place]:
            best, link = min(
                (costs[-1][number] + _motion(before, layout), number)
                for number, before in enumerate(options[place - 1]))
            row.append(best + _start_cost(layout, low, top))
            links.append(link)
        costs.append(row)
        back.append(links)
    number = min(range(len(costs[-1])), key=lambda place: (costs[-1][place], place))
    chosen = [options[-1][number]]
    for place in range(len(back) - 1, -1, -1):
        number = back[place][number]
        chosen.append(options[place][number])
    return chosen[::-1]


Layout = tuple[int, tuple[int, ...]]


def _layouts(harmony: Harmony, low: int, top: int, voices: int) -> list[Layout]:
    """All layouts of a chord: a bass within 14 semitones of `low`, the rest close above it."""
    found: list[Layout] = []
    basses = [pitch for pitch in range(low, low + 14) if pitch % 12 == harmony.bass]
    for bass in basses:
        above = [pitch for pitch in range(bass + 2, top + 1) if pitch % 12 in harmony.classes]
        for upper in _rising(above, voices):
            classes = {bass % 12, *(pitch % 12 for pitch in upper)}
            # The fifth may be left out; root, third and seventh may not.
            needed = set(harmony.classes) - {harmony.classes[2]} | {harmony.bass}
            if len(harmony.classes) <= voices:
                needed = set(harmony.classes) | {harmony.bass}
            if needed <= classes and upper[-1] - upper[0] <= 12:
                found.append((bass, upper))
    return found


def _rising(pitches: Sequence[int], count: int) -> list[tuple[int, ...]]:
    if count == 0:
        return [()]
    return [
        (pitch, *rest) for place, pitch in enumerate(pitches)
        for rest in _rising([above for above in pitches[place + 1:] if above - pitch <= 9],
                            count - 1)]


def _start_cost(layout: Layout, low: int, top: int) -> int:
    """Upper voices like the room just below `top`, and not to grumble beside the bass."""
    bass, upper = layout
    muddy = 6 if upper[0] < 52 and upper[0] - bass < 7 else 0
    return abs(upper[-1] - (top - 4)) // 2 + muddy + (bass - low) // 5


def _motion(before: Layout, after: Layout) -> int:
    cost = sum(abs(a - b) for a, b in zip(before[1], after[1], strict=True))
    leap = abs(after[0] - before[0])
    cost += leap // 3 + (4 if leap > 12 else 0)
    voices = list(zip((before[0], *before[1]), (after[0], *after[1]), strict=True))
    for (low_a, low_b), (high_a, high_b) in product(voices, voices):
        # Parallel fifths and octaves, the oldest prohibition.
        if low_a < high_a and low_a != low_b and (high_a - low_a) % 12 in (0, 7) \
                and high_a - low_a == high_b - low_b:
            cost += 12
    return cost


# A figure is a row of (what, length in sixteenths). What sounds together: "b" the bass, "B" the
# bass an octave lower, "l" the bass drawn up close to the others, 1 2 3 the upper voices from
# below, "-" a rest.
Figure = tuple[tuple[str, int], ...]


def _figure(text: str, unit: int) -> Figure:
    return tuple((item.rstrip("_"), unit * (1 + item.count("_"))) for item in text.split())


FIGURES: dict[str, Figure] = {
    "block": _figure("b123________", 1),
    "alberti": _figure("l 3 2 3", 2),
    "alberti16": _figure("l 3 2 3", 1),
    "waltz": _figure("b 123 123", 4),
    "wave": _figure("b 1 2 3 2 1", 2),
    "broken": _figure("b 1 2 3", 2),
    "rolling": _figure("b 1 2 3 2 1 2 1", 1),
    "nocturne": _figure("b 1 3 2 3 1", 2),
    "oompah": _figure("b 123", 2),
    "march": _figure("b 123", 4),
    "stride": _figure("B 123", 2),
    "pulse": _figure("b123", 2),
    "pulse4": _figure("b123", 4),
    "chords": _figure("123", 4),
    "barcarolle": _figure("b 2 3", 2),
    "siciliano": _figure("b_ 123", 2),
    "jig": _figure("b_ 23", 2),
    "tarantella": _figure("b 123 123", 2),
    "harp": _figure("b 1 2 3", 1),
    "minuet": _figure("b 23 23", 4),
    "walk": _figure("b 2 3", 4),
    "sarabande": _figure("b123 123_", 4),
    "two": _figure("b_ 23_", 2),
}


def figure_of(style: str) -> Figure:
    """The figure of a style's name."""
    if style not in FIGURES:
        raise ValueError(f"no such accompaniment: {style!r} (there are {', '.join(FIGURES)})")
    return FIGURES[style]


def accompany(
    style: str | Sequence[str], harmonies: Sequence[Harmony], velocity: int,
    low: int = 40, top: int = 64,
) -> list[Note]:
    """The left hand's notes: the figure begins anew with each chord and is cut where it ends.

    `style` is one for all or one for each harmony.
    """
    styles = [style] * len(harmonies) if isinstance(style, str) else style
    notes: list[Note] = []
    layouts = lay_out(harmonies, low, top)
    for one, harmony, (bass, upper) in zip(styles, harmonies, layouts, strict=True):
        figure = figure_of(one)
        now, end, place = harmony.start, harmony.start + harmony.length, 0
        while now < end:
            what, sixteenths = figure[place % len(figure)]
            stop = end if one == "block" else min(end, now + sixteenths * QUARTER // 4)
            notes += [Note(now, stop, pitch, velocity) for pitch in _pick(what, bass, upper)]
            now, place = stop, place + 1
    return notes


def _pick(what: str, bass: int, upper: tuple[int, ...]) -> list[int]:
    pitches = []
    for sign in what:
        if sign == "b":
            pitches.append(bass)
        elif sign == "B":
            pitches.append(bass - 12 if bass >= 43 else bass)
        elif sign == "l":
            pitches.append(bass + max(0, (upper[1] - 1 - bass) // 12 * 12))
        elif sign != "-":
            pitches.append(upper[int(sign) - 1])
    return pitches
