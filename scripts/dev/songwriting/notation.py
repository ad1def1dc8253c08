"""Our text notation of scores, and its reader: every bar is checked against the metre.

A source is a header of `name: value` lines and then sections, each with lines for the hands:

    title: Minuet in G
    meter: 3/4
    form: A A B            (sections in the order played; left out: each once)
    pattern wave rh: 8 r 16 $1 $2 $3 $1 $2 $3
    [A]
    rh: 4 d5 8 g4 a b c | 4 d5 g4 g
    lh: 2 [g3 b d] 4 a | 2. b

A bare number sets the length (`4.` dotted, `8t` triplet) until the next one. Notes are letter,
accidental (# b), octave (c4 is middle C); without an octave a note is the nearest of its letter
to the one before. `[c4 e g]` is a chord, each note the next above; `r` a rest, `R` a bar's rest,
`~` a tie, `%` the bar before again, `!mf` a dynamic, `{1/8}` at a bar's start a deliberate other
length (an upbeat and its completion). `@wave(c4 e g)` puts pitches into a pattern; a line `all:`
gives its patterns to each hand that has them. `chords: C | G7/B C` are chord symbols from which
the left hand's accompaniment is made in the style of the header. Lines that begin with `;` are
comments.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction

from jaxmusic.midi.types import Note

from . import figuration
from .figuration import Harmony
from .hand import DYNAMICS, Hand, expand
from .keys import Key
from .score import QUARTER, WHOLE, Score

FACTS = ("title", "composer", "work", "bars", "sure")  # in every source
_SECTION = re.compile(r"\[(\w+)(?: like (\w+))?\]")
_LINE = re.compile(r"(\w+): *(.*)")
_PATTERN = re.compile(r"pattern (\w+) (\w+): *(.*)")


class SourceError(ValueError):
    """A source that does not read, with its name and line."""


@dataclass(frozen=True)
class Source:
    """A source as read: its facts and its music."""

    facts: dict[str, str]
    score: Score


@dataclass
class _Text:
    """A source taken apart: header, patterns, and each section's lines with their numbers."""

    name: str
    facts: dict[str, str] = field(default_factory=dict)
    patterns: dict[tuple[str, str], str] = field(default_factory=dict)  # (pattern, hand)
    sections: dict[str, dict[str, list[tuple[int, str]]]] = field(default_factory=dict)
    bar: int = WHOLE  # ticks


@dataclass
class _Part:
    """A section read: notes of each hand from tick 0, and the lengths of its bars."""

    notes: dict[str, list[Note]]
    bars: list[int]


def parse(text: str, name: str) -> Source:
    """Read a source; `name` is for its errors. Raises SourceError."""
    source = _take_apart(text, name)
    facts = source.facts
    for fact in (*FACTS, "key", "meter", "tempo"):
        if fact not in facts:
            raise SourceError(f"{name}: the header has no line '{fact}:'")
    try:
        key = Key.parse(facts["key"])
        beats, unit = (int(part) for part in facts["meter"].split("/"))
        tempo = float(facts["tempo"])
    except ValueError as error:
        raise SourceError(f"{name}: in the header: {error}") from error
    source.bar = WHOLE * beats // unit

    played: dict[str, list[Note]] = {}
    parts: dict[str, _Part] = {}
    now = 0
    for title in facts.get("form", " ".join(source.sections)).split():
        if title not in source.sections:
            raise SourceError(f"{name}: the form names [{title}], which is not there")
        if title not in parts:
            parts[title] = _read_section(source, title)
        part = parts[title]
        if now == 0 and part.bars[0] < source.bar:
            now = source.bar - part.bars[0]  # an upbeat stands at the end of its bar
        for hand, notes in part.notes.items():
            played.setdefault(hand, []).extend(
                note._replace(start=note.start + now, end=note.end + now) for note in notes)
        now += sum(part.bars)
    score = Score(facts["title"], key.name, (beats, unit), tempo,
                  tuple(tuple(played[hand]) for hand in sorted(played, reverse=True)))
    return Source(facts, score)


def _take_apart(text: str, name: str) -> _Text:
    source = _Text(name)
    section: dict[str, list[tuple[int, str]]] | None = None
    lent: dict[str, list[tuple[int, str]]] = {}  # the lines of the section that this one is like
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith(";"):
            continue
        if match := _PATTERN.fullmatch(line):
            source.patterns[match[1], match[2]] = match[3]
        elif match := _SECTION.fullmatch(line):
            if match[2] and match[2] not in source.sections:
                raise SourceError(f"{name}:{number}: no section [{match[2]}] before this one")
            section = source.sections[match[1]] = {}
            lent = source.sections[match[2]] if match[2] else {}
            source.sections[match[1]] |= lent
        elif not (match := _LINE.fullmatch(line)):
            raise SourceError(f"{name}:{number}: neither header, section nor hand: {line!r}")
        elif section is None:
            source.facts[match[1]] = match[2]
        else:
            hands = [match[1]]
            if match[1] == "all":
                hands = sorted({hand for _, hand in source.patterns} - {"any"})
            for hand in hands:
                if hand in lent and section.get(hand) is lent[hand]:
                    section[hand] = []
                section.setdefault(hand, []).append((number, match[2]))
    return source


def _read_section(source: _Text, title: str) -> _Part:
    lines = dict(source.sections[title])
    chords = lines.pop("chords", [])
    if not lines:
        raise SourceError(f"{source.name}: [{title}] has no hand")
    parts = {hand: _read_hand(source, title, hand, own) for hand, own in lines.items()}
    first, (_, bars) = next(iter(parts.items()))
    for hand, (_, own) in parts.items():
        if own != bars:
            raise SourceError(
                f"{source.name}: in [{title}] {hand} has {len(own)} bars, {first} {len(bars)}"
                + (", of other lengths" if len(own) == len(bars) else ""))
    notes = {hand: own for hand, (own, _) in parts.items()}
    if chords:
        notes["lh"] = _read_chords(source, title, chords, bars)
    return _Part(notes, bars)


def _read_hand(
    source: _Text, title: str, hand: str, lines: list[tuple[int, str]],
) -> tuple[list[Note], list[int]]:
    """A hand's notes and the lengths of its bars, each checked against the metre."""
    reader = Hand(hand, DYNAMICS["mf"])
    done: list[int] = []
    before: list[str] = []
    for number, text in _bars(lines):
        start, wanted = reader.now, source.bar
        where = f"{source.name}:{number}: bar {len(done) + 1} of {hand} in [{title}]"
        try:
            items = expand(text, hand, source.patterns)
            if items and items[0].startswith("{"):
                wanted = int(WHOLE * Fraction(items.pop(0)[1:-1]))
            if items == ["%"]:
                items = before
            for item in items:
                reader.read(item, wanted)
        except ValueError as error:
            raise SourceError(f"{where}: {error}") from error
        if reader.now - start != wanted:
            raise SourceError(f"{where} has {(reader.now - start) / QUARTER:g} quarters, "
                              f"the metre wants {wanted / QUARTER:g}")
        before = items
        done.append(wanted)
    if reader.open:
        raise SourceError(f"{source.name}: [{title}] ends in an open tie in {hand}")
    return reader.notes, done


def _read_chords(
    source: _Text, title: str, lines: list[tuple[int, str]], bars: list[int],
) -> list[Note]:
    """The left hand made from chord symbols; `(waltz)` at a bar's start changes its style."""
    texts = _bars(lines)
    if len(texts) != len(bars):
        raise SourceError(f"{source.name}: in [{title}] chords has {len(texts)} bars, "
                          f"the hands {len(bars)}")
    style = source.facts.get("accompaniment", "block")
    harmonies: list[Harmony] = []
    styles: list[str] = []
    now = 0
    for (number, text), length in zip(texts, bars, strict=True):
        symbols = re.sub(r"\{[^}]*\}", "", text).split()
        if symbols and symbols[0].startswith("("):
            style = symbols.pop(0)[1:-1]
        try:
            added = figuration.from_symbols(symbols, now, length)
            figuration.figure_of(style)
        except ValueError as error:
            raise SourceError(f"{source.name}:{number}: chords in [{title}]: {error}") from error
        harmonies += added
        styles += [style] * len(added)
        now += length
    # Below the tunes, of which many go down to middle C.
    return figuration.accompany(styles, harmonies, DYNAMICS["p"], top=60)


def _bars(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The bars of a hand's lines, each with the number of its line."""
    found = []
    for number, line in lines:
        bars = line.split("|")
        if not bars[-1].strip():
            bars.pop()
        found += [(number, bar) for bar in bars]
    return found
