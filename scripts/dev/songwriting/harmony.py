"""Functional harmony: Roman numerals in a key, and the progressions that phrases are made of."""

import re
from dataclasses import dataclass
from functools import cache

from .keys import MAJOR, Key
from .score import QUARTER

_NUMERAL = re.compile(r"(b?)(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(o|ø|\+)?(\d*)")
_DEGREES = {"I": 0, "II": 1, "III": 2, "IV": 3, "V": 4, "VI": 5, "VII": 6}
_THIRDS = {"major": (4, 3), "minor": (3, 4), "diminished": (3, 3), "augmented": (4, 4)}
_INVERSIONS = {"": 0, "7": 0, "6": 1, "65": 1, "64": 2, "43": 2, "42": 3}


@dataclass(frozen=True)
class Chord:
    """A chord as spelled pitch classes, with the scale that goes with it."""

    symbol: str
    tones: tuple[tuple[int, int], ...]  # (letter 0-6, pitch class), root first, in thirds
    bass: int  # place in tones
    scale: tuple[int, ...]  # pitch class of each letter while the chord sounds
    key: Key  # the key it is heard in
    leading: int | None  # pitch class of its leading tone, which rises
    seventh: int | None  # pitch class of its seventh, which falls

    @property
    def classes(self) -> tuple[int, ...]:
        return tuple(pitch_class for _, pitch_class in self.tones)

    @property
    def letters(self) -> tuple[int, ...]:
        return tuple(letter for letter, _ in self.tones)

    @property
    def bass_class(self) -> int:
        return self.tones[self.bass][1]


@cache
def chord(key: Key, symbol: str) -> Chord:
    """The chord that a numeral means in a key: "V7", "ii65", "viio7/V", "bII6", "I64"."""
    numeral, _, target = symbol.partition("/")
    if target:
        aim = chord(key, target)
        return _in_key(key.on_degree((aim.tones[0][0] - key.letter) % 7,
                                     (aim.tones[1][1] - aim.tones[0][1]) % 12 == 3),
                       numeral, key, symbol)
    return _in_key(key, numeral, key, symbol)


def _in_key(local: Key, numeral: str, home: Key, symbol: str) -> Chord:
    """`local` gives the degrees (an applied chord's target), `home` the scale around the chord."""
    match = _NUMERAL.fullmatch(numeral)
    if match is None or match[4] not in _INVERSIONS:
        raise ValueError(f"no such chord: {symbol!r}")
    flat, name, sign, figures = match.groups()
    degree = _DEGREES[name.upper()]
    letter = (local.letter + degree) % 7
    root = local.scale[letter]
    # The leading tone is the raised seventh degree, in minor too.
    leading = (local.pitch_class + MAJOR[6]) % 12
    if degree == 6 and sign in ("o", "ø"):
        root = leading
    if flat:
        root = (local.pitch_class + MAJOR[degree] - 1) % 12
    quality = ("diminished" if sign in ("o", "ø") else "augmented" if sign == "+"
               else "major" if name.isupper() else "minor")
    thirds = list(_THIRDS[quality])
    if figures in ("7", "65", "43", "42"):
        seventh = {"diminished": 3 if sign == "o" else 4, "minor": 3, "augmented": 4}.get(
            quality, 3 if degree in (4, 6) else 4)
        thirds.append(seventh)
    tones, pitch_class = [(letter, root)], root
    for place, third in enumerate(thirds, start=1):
        pitch_class = (pitch_class + third) % 12
        tones.append(((letter + 2 * place) % 7, pitch_class))
    scale = list(home.scale)
    for tone_letter, tone_class in tones:
        scale[tone_letter] = tone_class
    dominant = degree in (4, 6) and quality != "minor" and leading in (one for _, one in tones)
    return Chord(symbol, tuple(tones), _INVERSIONS[figures], tuple(scale), home,
                 leading if dominant else None, tones[3][1] if len(tones) == 4 else None)


@dataclass(frozen=True)
class Span:
    """A chord with its place in time."""

    start: int  # ticks
    length: int  # ticks
    chord: Chord

    @property
    def end(self) -> int:
        return self.start + self.length


def progression(key: Key, text: str, bar: int, start: int = 0) -> list[Span]:
    """Read "I | V43 I6 | ii6 V7 | I": bars of numerals; `V>` moves to that key until the end.

    Chords share their bar evenly; two in a bar of three beats as 2 + 1. `>` after a numeral
    names a key by its tonic chord in the first key ("vi>" the relative minor of a major key).
    """
    spans: list[Span] = []
    local = key
    for measure in text.split("|"):
        symbols = []
        for word in measure.split():
            aim, arrow, numeral = word.rpartition(">")
            if arrow:
                tonic = chord(key, aim)
                local = Key(tonic.tones[0][0], tonic.tones[0][1],
                            (tonic.tones[1][1] - tonic.tones[0][1]) % 12 == 3)
            symbols.append((local, numeral))
        shares = [1] * len(symbols)
        if bar % (3 * QUARTER) == 0 and bar // QUARTER == 3 and len(symbols) == 2:
            shares = [2, 1]
        for (where, numeral), share in zip(symbols, shares, strict=True):
            length = bar * share // sum(shares)
            spans.append(Span(start, length, chord(where, numeral)))
            start += length
    return spans


def at(spans: list[Span], tick: int) -> Span:
    """The span that sounds at a tick (the last one after the end)."""
    for span in spans:
        if tick < span.end:
            return span
    return spans[-1]


# Periods: an antecedent to a half cadence and its consequent, which begins the same way and
# ends with a perfect cadence. Four bars each; beside them the consequents that leave the key.
PERIODS_MAJOR = (
    ("I | IV64 I | ii6 | V", "I | IV64 I | ii6 V7 | I"),
    ("I | V43 I6 | IV ii6 | V", "I | V43 I6 | ii6 V7 | I"),
    ("I | vi | ii65 | V", "I | vi | ii65 V7 | I"),
    ("I | V42 I6 | ii6 V7/V | V", "I | V42 I6 | I64 V7 | I"),
    ("I | V65 I | IV V65/V | V", "I | V65 I | ii65 V7 | I"),
    ("I V6 | vi iii | IV I6 | ii6 V", "I V6 | vi iii | ii6 V7 | I"),
    ("I | V7/IV IV | I64 V7/V | V", "I | V7/IV IV | I64 V7 | I"),
    ("I | viio6 I6 | ii65 V65/V | V", "I | viio6 I6 | ii65 V7 | I"),
    ("I | ii42 V65 | I V65/V | V", "I | ii42 V65 | I6 V7 | I"),
)
PERIODS_MINOR = (
    ("i | V6 i | iv6 | V", "i | V6 i | iiø65 V7 | i"),
    ("i | V43 i6 | iv iiø65 | V", "i | V43 i6 | iiø65 V7 | i"),
    ("i | VI | iiø65 | V", "i | VI | iiø65 V7 | i"),
    ("i | V42 i6 | iv viio7/V | V", "i | V42 i6 | i64 V7 | i"),
    ("i V6 | i iv6 | i64 viio7/V | V", "i V6 | i iv6 | i64 V7 | i"),
    ("i | iv64 i | iv6 | V", "i | iv64 i | iiø65 V7 | i"),
    ("i | VII6 III | iv iv6 | V", "i | VII6 III | iiø65 V7 | i"),
    ("i | viio7 i | iv6 viio7/V | V", "i | viio7 i | bII6 V7 | i"),
)
# Second halves of a first part: they end in the dominant, or from minor in the relative major.
MODULATING_MAJOR = (
    "I | vi | V>ii65 V7 | V>I",
    "I | V43 I6 | V>ii6 V7 | V>I",
    "I V6 | vi | V>I64 V7 | V>I",
    "I | I6 | V>ii65 V7 | V>I",
)
MODULATING_MINOR = (
    "i | V6 i | III>ii65 V7 | III>I",
    "i | iv6 | III>I64 V7 | III>I",
    "i | VI | III>ii6 V7 | III>I",
)
# Middles: sequences and excursions, ending on the dominant so that the first idea may return.
MIDDLES_MAJOR = (
    "V7/vi | vi | V7/V | V",
    "V7/ii | ii | V7 | I | V7/vi | vi | V65/V | V",
    "vi>i | vi>V6 i | ii6 V7/V | V",
    "vi iii | IV I | ii6 V65/V | V7",
    "I V6 | vi iii6 | IV I6 | ii65 V7/V | V V42 | I6 V43 | I V65/V | V7",
    "vi>i | vi>iiø65 V7 | vi>i | V65/ii | ii | V65/V | V | V7",
    "IV>I | IV>ii6 V7 | IV>I | V65/V | V | V7",
)
MIDDLES_MINOR = (
    "III | VII6 | iv6 | V",
    "III>I | III>ii6 V7 | III>I | V65/iv | iv | iiø65 | viio7/V | V",
    "iv VII7 | III VI | iiø65 V | V7",
    "VI | V7/III | III | viio7/V | V | V7",
    "V65/iv | iv | V65/III | III | VI iv6 | V",
    "VI>I | VI>ii6 V7 | VI>I | iv6 | V | V7",
)
CODAS_MAJOR = ("I | V7/IV IV | ii65 V7 | I", "I | V7/IV IV64 | V7 | I", "IV | iv6 V7 | I | I")
CODAS_MINOR = ("i | iv | iiø65 V7 | i", "V7/iv iv | i64 V7 | i | i", "i | bII6 V7 | i | i")
