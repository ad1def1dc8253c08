"""One hand of a source: its items, bar by bar, become notes."""

import re

from jaxmusic.midi.types import Note

from .keys import LETTERS, NATURAL
from .score import WHOLE

DYNAMICS = {"pp": 46, "p": 57, "mp": 67, "mf": 77, "f": 89, "ff": 101}
_NOTE = re.compile(r"([a-g])(##|#|bb|b)?(\d)?")
_LENGTH = re.compile(r"(1|2|4|8|16|32)(t|\.{0,2})")
_CALL = re.compile(r"@(\w+)\(([^)]*)\)")
_ITEM = re.compile(r"\[[^\]]*\]~?|@\w+\([^)]*\)|\S+")


class Hand:
    """Reads one hand of one section: keeps length, octave, loudness and open ties."""

    def __init__(self, name: str, velocity: int) -> None:
        self.now = 0
        self.length: int | None = None
        self.position: int | None = None
        self.velocity = velocity
        self.softer = 8 if name.startswith("l") else 0  # the accompaniment below the tune
        self.notes: list[Note] = []
        self.open: dict[int, int] = {}  # tied pitch -> place in notes

    def read(self, item: str, bar: int) -> None:
        if match := _LENGTH.fullmatch(item):
            ticks, dots = WHOLE // int(match[1]), match[2]
            if dots == "t":
                self.length = ticks * 2 // 3
            else:
                self.length = 2 * ticks - ticks // 2 ** len(dots)
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


def expand(text: str, hand: str, patterns: dict[tuple[str, str], str]) -> list[str]:
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
