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

from jaxmusic.midi import Note

from . import figuration
from .keys import LETTERS, NATURAL, Key
from .score import QUARTER, WHOLE, Score

DYNAMICS = {"pp": 46, "p": 57, "mp": 67, "mf": 77, "f": 89, "ff": 101}
FACTS = ("title", "composer", "work", "bars", "sure")  # what every source must tell
_HEADER = re.compile(r"([a-z]+): *(.*)")
_PATTERN = re.compile(r"pattern (\w+) (\w+): *(.*)")
_NOTE = re.compile(r"([a-g])(##|#|bb|b)?(\d)?")
_LENGTH = re.compile(r"(1|2|4|8|16|32)(t|\.{0,2})")
_CALL = re.compile(r"@(\w+)\(([^)]*)\)")
_ITEM = re.compile(r"\[[^\]]*\]~?|@\w+\([^)]*\)|\S+")


class SourceError(ValueError):
    """A source that does not read, with its name and line."""


@dataclass(frozen=True)
class Source:
    """A source as read: what it tells of itself, and its music."""

    facts: dict[str, str]
    score: Score


@dataclass
class _Section:
    lines: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # hand -> lines


class _Hand:
    """Reads one hand of one section: keeps length, octave, loudness and open ties."""

    def __init__(self, where: str, velocity: int) -> None:
        self.where = where
        self.now = 0
        self.length: int | None = None
        self.position: int | None = None
        self.velocity = velocity
        self.softer = 8 if where.startswith("l") else 0  # the accompaniment below the tune
        self.notes: list[Note] = []
        self.open: dict[int, int] = {}  # tied pitch -> place in notes

    def read(self, item: str, bar: int) -> None:
        if match := _LENGTH.fullmatch(item):
            ticks = WHOLE // int(match[1])
            dots = match[2]
            self.length = ticks * 2 // 3 if dots == "t" else ticks * (2 ** (len(dots) + 1) - 1) // (
                2 ** len(dots))
        elif item.startswith("!"):
            if item[1:] not in DYNAMICS:
                raise ValueError(f"no such dynamic: {item}")
            self.velocity = DYNAMICS[item[1:]]
        elif item == "R":
            self.now += bar
        else:
            self._sound(item)

    def _sound(self, item: str) -> None:
        if self.length is None:
            raise ValueError(f"{item} comes before any length")
        tied = item.endswith("~")
        item = item.removesuffix("~")
        if item == "r":
            pitches: list[int] = []
        elif item.startswith("["):
            pitches = self._chord(item[1:-1].split())
        else:
            pitches = [self._pitch(item)]
        end = self.now + self.length
        still_open = {}
        for pitch in pitches:
            if pitch in self.open:
                place = self.open.pop(pitch)
                self.notes[place] = self.notes[place]._replace(end=end)
            else:
                place = len(self.notes)
                self.notes.append(Note(self.now, end, pitch, self.velocity - self.softer))
            if tied:
                still_open[pitch] = place
        if self.open:
            raise ValueError(f"a tie leads to {item}, which is another pitch")
        self.open = still_open
        self.now = end

    def _pitch(self, name: str) -> int:
        letter, accidental, octave = split_note(name)
        if octave is not None:
            self.position = 7 * octave + letter
        elif self.position is None:
            raise ValueError(f"the section's first note, {name}, needs an octave")
        else:
            up = (letter - self.position) % 7
            self.position += up if up <= 3 else up - 7
        return sounding(self.position, accidental)

    def _chord(self, names: list[str]) -> list[int]:
        if not names:
            raise ValueError("an empty chord")
        pitches = [self._pitch(names[0])]
        lowest = position = self.position or 0
        for name in names[1:]:
            letter, accidental, octave = split_note(name)
            if octave is not None:
                position = 7 * octave + letter
            else:
                position += (letter - position - 1) % 7 + 1
            pitches.append(sounding(position, accidental))
        self.position = lowest
        return pitches


def split_note(name: str) -> tuple[int, int, int | None]:
    """Letter 0-6, semitones raised, octave or None."""
    match = _NOTE.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no note, length or sign")
    accidental = {"#": 1, "##": 2, "b": -1, "bb": -2}.get(match[2] or "", 0)
    return LETTERS.index(match[1].upper()), accidental, int(match[3]) if match[3] else None


def sounding(position: int, accidental: int) -> int:
    """MIDI number of a staff position with an accidental."""
    octave, letter = divmod(position, 7)
    return 12 * (octave + 1) + NATURAL[letter] + accidental


def parse(text: str, name: str) -> Source:
    """Read a source; `name` is for its errors. Raises SourceError."""
    facts: dict[str, str] = {}
    patterns: dict[tuple[str, str], str] = {}
    sections: dict[str, _Section] = {}
    section: _Section | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith(";"):
            continue
        if match := _PATTERN.fullmatch(line):
            patterns[match[1], match[2]] = match[3]
        elif line.startswith("[") and line.endswith("]") and ":" not in line:
            section = sections.setdefault(line[1:-1], _Section())
        elif match := re.fullmatch(r"(\w+): *(.*)", line):
            if section is None:
                facts[match[1]] = match[2]
                continue
            hands = [match[1]]
            if match[1] == "all":
                hands = sorted({hand for _, hand in patterns} - {"any"}, reverse=True)
            for hand in hands:
                section.lines.setdefault(hand, []).append((number, match[2]))
        else:
            raise SourceError(f"{name}:{number}: neither header, section nor hand: {line!r}")
    for fact in (*FACTS, "key", "meter", "tempo"):
        if fact not in facts:
            raise SourceError(f"{name}: the header has no line '{fact}:'")
    try:
        key = Key.parse(facts["key"])
        beats, unit = (int(part) for part in facts["meter"].split("/"))
        tempo = float(facts["tempo"])
    except ValueError as error:
        raise SourceError(f"{name}: in the header: {error}") from error
    bar = WHOLE * beats // unit

    form = facts.get("form", " ".join(sections)).split()
    hands: dict[str, list[Note]] = {}
    now = 0
    read: dict[str, tuple[dict[str, list[Note]], list[int]]] = {}
    for part in form:
        if part not in sections:
            raise SourceError(f"{name}: the form names [{part}], which is not there")
        if part not in read:
            read[part] = _read_section(
                sections[part], patterns, name, part, bar, facts.get("accompaniment", "block"))
        notes, lengths = read[part]
        if now == 0 and lengths[0] < bar:
            now = bar - lengths[0]  # an upbeat stands at the end of its bar
        for hand, played in notes.items():
            hands.setdefault(hand, []).extend(
                note._replace(start=note.start + now, end=note.end + now) for note in played)
        now += sum(lengths)
    score = Score(facts["title"], key.name, (beats, unit), tempo,
                  tuple(tuple(hands[hand]) for hand in sorted(hands, reverse=True)),
                  ritard=facts.get("ritard", "yes") == "yes")
    return Source(facts, score)


def _read_section(
    section: _Section, patterns: dict[tuple[str, str], str], name: str, part: str, bar: int,
    style: str,
) -> tuple[dict[str, list[Note]], list[int]]:
    """The section's notes by hand, from tick 0, and the lengths of its bars."""
    played: dict[str, list[Note]] = {}
    lengths: dict[str, list[int]] = {}
    chord_bars: list[tuple[int, list[str]]] = []
    for hand, lines in section.lines.items():
        if hand == "chords":
            chord_bars = [(number, text.split()) for number, line in lines
                          for text in _bars(line)]
            continue
        reader = _Hand(hand, DYNAMICS["mf"])
        done: list[int] = []
        before: list[str] = []
        for number, line in lines:
            for text in _bars(line):
                start, count = reader.now, len(done) + 1
                try:
                    items = _expand(text, hand, patterns)
                    wanted = bar
                    if items and items[0].startswith("{"):
                        wanted = int(WHOLE * Fraction(items.pop(0)[1:-1]))
                    if items == ["%"]:
                        items = before
                    for item in items:
                        reader.read(item, wanted)
                except ValueError as error:
                    raise SourceError(
                        f"{name}:{number}: bar {count} of {hand} in [{part}]: {error}") from error
                if reader.now - start != wanted:
                    raise SourceError(
                        f"{name}:{number}: bar {count} of {hand} in [{part}] has "
                        f"{(reader.now - start) / QUARTER:g} quarters, the metre wants "
                        f"{wanted / QUARTER:g}")
                before = items
                done.append(wanted)
        if reader.open:
            raise SourceError(f"{name}: [{part}] ends in an open tie in {hand}")
        played[hand], lengths[hand] = reader.notes, done
    if not lengths:
        raise SourceError(f"{name}: [{part}] has no hand")
    first = next(iter(lengths))
    for hand, done in lengths.items():
        if done != lengths[first]:
            raise SourceError(
                f"{name}: in [{part}] {hand} has {len(done)} bars, {first} {len(lengths[first])}"
                + (", of other lengths" if len(done) == len(lengths[first]) else ""))
    if chord_bars:
        if len(chord_bars) != len(lengths[first]):
            raise SourceError(f"{name}: in [{part}] chords has {len(chord_bars)} bars, "
                              f"{first} {len(lengths[first])}")
        harmonies, now = [], 0
        styles = []
        for (number, symbols), length in zip(chord_bars, lengths[first], strict=True):
            if symbols and symbols[0].startswith("("):
                style = symbols.pop(0)[1:-1]
            if symbols and symbols[0].startswith("{"):
                symbols = [symbols[0].partition("}")[2], *symbols[1:]]
            try:
                added = figuration.from_symbols(symbols, now, length)
                figuration.figure_of(style)
            except ValueError as error:
                raise SourceError(f"{name}:{number}: chords in [{part}]: {error}") from error
            harmonies += added
            styles += [style] * len(added)
            now += length
        played["lh"] = figuration.accompany(styles, harmonies, DYNAMICS["p"])
    return played, lengths[first]


def _bars(line: str) -> list[str]:
    bars = line.split("|")
    if not bars[-1].strip():
        bars.pop()
    return bars


def _expand(text: str, hand: str, patterns: dict[tuple[str, str], str]) -> list[str]:
    """A bar's items, with patterns put in."""
    items: list[str] = []
    for item in _ITEM.findall(text):
        call = _CALL.fullmatch(item)
        if call is None:
            items.append(item)
            continue
        body = patterns.get((call[1], hand), patterns.get((call[1], "any"), ""))
        if not body:
            raise ValueError(f"no pattern {call[1]} for {hand}")
        position = -1
        for place, name in enumerate(call[2].split(), start=1):
            letter, _, octave = split_note(name)
            if octave is not None:
                position = 7 * octave + letter
            elif position < 0:
                raise ValueError(f"the first note of {item} needs an octave")
            else:
                position += (letter - position - 1) % 7 + 1
            stem = re.sub(r"\d", "", name)
            body = body.replace(f"${place}", f"{stem}{position // 7}")
        if "$" in body:
            raise ValueError(f"{item} has too few pitches for its pattern")
        items += _ITEM.findall(body)
    return items
