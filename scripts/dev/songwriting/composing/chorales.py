"""Chorales and figured preludes: four-part writing, plain and broken into figures."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from jaxmusic.midi.types import Note

from .. import melody, voicing
from ..harmony import Chord, progression
from ..keys import Key, position_of
from ..melody import Slot
from ..score import QUARTER, WHOLE, Score
from ..voicing import Voicing
from .phrases import choose

# Lines of a chorale: seven chords, six quarters and a held one.
OPENINGS_MAJOR = (
    "I V6 I I6 | ii65 V I", "I IV6 V65 I | IV V I", "I vi ii6 V | I6 IV V",
    "I V43 I6 IV | I64 V I", "I iii vi IV | ii65 V I",
)
OPENINGS_MINOR = (
    "i V6 i i6 | iiø65 V i", "i iv6 V i | iv V i", "i VI iv V | i6 iiø65 V",
    "i V43 i6 iv | i64 V i", "i v6 iv6 V | i iiø65 V",
)
INNER_MAJOR = (
    "I V6 I V>V65 | V>I V7 I", "I6 V43 I vi>V6 | vi>i V7 i", "vi>i V6 i iv | ii6 V65/V V",
    "V V42 I6 V65/ii | ii V65 I", "I V65/IV IV viio7/V | V V65 I",
    "IV>I V6 I ii65 | V7 I IV", "vi iii IV I | ii6 V I",
)
INNER_MINOR = (
    "III V6/III III IV/III | V7/III III III", "i V65/iv iv V65/III | III V6/III III",
    "III>I V6 I ii65 | I64 V7 I", "iv>i V6 i iiø65 | iv>V7 i iv", "VI III iv6 i6 | iiø65 V V",
    "III VII6 i V6 | i viio7/V V", "v>i V6 i iiø65 | v>V7 i i",
)
CLOSES_MAJOR = ("I6 IV ii65 V | I64 V7 I", "IV I6 viio6 I | ii65 V7 I", "vi V65/V V V42 | I6 V7 I")
CLOSES_MINOR = ("i6 iv iiø65 V | i64 V7 I", "VI iv viio7 i | iiø65 V7 I",
                "i V65/iv iv iv6 | i64 V7 I")


@dataclass(frozen=True)
class _Line:
    chords: tuple[Chord, ...]
    voicings: tuple[Voicing, ...]


def chorale(title: str, tempo: float, lines: int = 6, second: str = "") -> Callable[
    [Key, Random], Score
]:
    """A four-part chorale; `second` names the figure of a second verse on the same chords."""

    def compose(key: Key, rng: Random) -> Score:
        openings = OPENINGS_MINOR if key.minor else OPENINGS_MAJOR
        inner = list(INNER_MINOR if key.minor else INNER_MAJOR)
        closes = CLOSES_MINOR if key.minor else CLOSES_MAJOR
        texts = [choose(rng, openings)]
        while len(texts) < lines - 1:
            text = choose(rng, inner)
            inner.remove(text)
            texts.append(text)
        texts.append(choose(rng, closes))
        verses = [_line(key, text, rng) for text in texts]
        right: list[Note] = []
        left: list[Note] = []
        now = 0
        for line in verses:
            for voice, notes in enumerate(_plain(line, now, rng)):
                (left if voice < 2 else right).extend(notes)
            now += 8 * QUARTER
        if second:
            for number, line in enumerate(verses):
                up, down = _figured(line, now, second, last=number == len(verses) - 1)
                right += up
                left += down
                now += 8 * QUARTER
        return Score(title, key.name, (4, 4), tempo, (tuple(right), tuple(left)))

    return compose


def _line(key: Key, text: str, rng: Random) -> _Line:
    """A tune by search, the other voices below it; tried again until no rule is broken."""
    chords = [span.chord for span in progression(key, text, WHOLE)]
    slots = [Slot(place * QUARTER, QUARTER, chord, 2 if place % 4 == 0 else 1,
                  ends=place == len(chords) - 1)
             for place, chord in enumerate(chords)]
    best: tuple[int, tuple[Voicing, ...]] | None = None
    for _ in range(8):
        positions = melody.compose(slots, position_of("D4"), position_of("F5"), rng,
                                   start=position_of("B4"))
        try:
            found = voicing.voice(chords, rng, melody.finish(slots, positions))
        except ValueError:
            continue
        broken = sum(voicing.faults(a, b) for a, b in pairwise(found))
        if best is None or broken < best[0]:
            best = broken, tuple(found)
        if broken == 0:
            break
    if best is None or best[0]:
        found = voicing.voice(chords, rng)
        if best is None or sum(voicing.faults(a, b) for a, b in pairwise(found)) < best[0]:
            best = 0, tuple(found)
    return _Line(tuple(chords), best[1])


def _plain(line: _Line, start: int, rng: Random) -> list[list[Note]]:
    """The four voices, bass first, with passing notes between thirds and suspensions."""
    voices: list[list[Note]] = [[] for _ in range(4)]
    last = len(line.voicings) - 1
    for place, sounding in enumerate(line.voicings):
        tick = start + place * QUARTER
        length = 2 * QUARTER if place == last else QUARTER
        after = line.voicings[place + 1] if place < last else sounding
        moving = False
        for voice, pitch in enumerate(sounding):
            velocity = 80 if voice == 3 else 68
            between = _passing(line.chords[place], pitch, after[voice])
            if (between is not None and not moving and rng.random() < 0.6
                    and _clear(sounding, after, voice, between)):
                voices[voice] += [Note(tick, tick + QUARTER // 2, pitch, velocity),
                                  Note(tick + QUARTER // 2, tick + length, between, velocity - 4)]
                moving = True  # one voice at a time
                continue
            held = line.voicings[place - 1][voice] if place else pitch
            chord = line.chords[place]
            if (place and chord.leading is not None and pitch % 12 == chord.leading
                    and held - pitch == 1 and not moving and chord.bass == 0 and voice):
                # The 4-3 suspension: the fourth is prepared, struck on the beat, and falls.
                voices[voice] += [Note(tick, tick + QUARTER // 2, held, velocity),
                                  Note(tick + QUARTER // 2, tick + length, pitch, velocity - 4)]
                moving = True
                continue
            voices[voice].append(Note(tick, tick + length, pitch, velocity))
    return voices


def _clear(sounding: Voicing, after: Voicing, voice: int, between: int) -> bool:
    """Whether a passing note in one voice makes no parallels on either side."""
    bass, tenor, alto, soprano = (
        between if number == voice else pitch for number, pitch in enumerate(sounding))
    middle = bass, tenor, alto, soprano
    return not voicing.faults(sounding, middle) and not voicing.faults(middle, after)


def _passing(chord: Chord, pitch: int, after: int) -> int | None:
    """The scale's note between two notes a third apart, or None."""
    if abs(after - pitch) not in (3, 4):
        return None
    low, high = sorted((pitch, after))
    inside = [one for one in range(low + 1, high) if one % 12 in chord.scale]
    return inside[0] if len(inside) == 1 else None


# Figures over four voices (b t a s from below; + an octave higher): in a chorale each sign is a
# sixteenth, in a prelude the figure fills the bar once or twice.
FIGURES = {
    "broken": "b t a s",
    "rolling": "b a t s",
    "bach": "b t a s a t a s",
    "wave": "b t a s t a s a",
    "harp": "b t a s b+ s a t",
    "toccata": "s a t a s a b+ t",
    "etude": "s a t s a t s a",
    "long": "b t a s a s t a s a t s a t a s",
    "compound": "b t a s t a",
}


def _figured(
    line: _Line, start: int, figure: str, last: bool,
) -> tuple[list[Note], list[Note]]:
    right: list[Note] = []
    left: list[Note] = []
    signs = FIGURES[figure].split()
    for place, sounding in enumerate(line.voicings):
        tick = start + place * QUARTER
        if place == len(line.voicings) - 1 and last:
            left += [Note(tick, tick + 2 * QUARTER, pitch, 70) for pitch in sounding[:2]]
            right += [Note(tick, tick + 2 * QUARTER, pitch, 74) for pitch in sounding[2:]]
            continue
        room = 2 * QUARTER if place == len(line.voicings) - 1 else QUARTER
        unit = QUARTER // 4
        for step in range(room // unit):
            pitch, low = _sign(signs[step % len(signs)], sounding)
            (left if low else right).append(
                Note(tick + step * unit, tick + (step + 1) * unit, pitch, 72))
    return right, left


def _sign(sign: str, sounding: Voicing) -> tuple[int, bool]:
    """The pitch of a sign and whether the left hand plays it."""
    voice = "btas".index(sign[0])
    pitch = sounding[voice] + (12 if sign.endswith("+") else 0)
    return pitch, voice < 2


PRELUDES_MAJOR = (
    "I | ii42 | V65 | I | vi | V43/V | V | V42 | I6 | V65/ii | ii | viio7/vi | vi | V65/V | V | "
    "V42 | I6 | IV | ii65 | V7 | V7/IV | IV | viio7/V | I64 | V7 | V7 | I | V7/IV | IV64 | "
    "V7 | I",
    "I | V43 | I6 | IV | ii65 | V65/V | V | V42/vi | vi6 | V43/ii | ii | V65 | I | V65/IV | IV | "
    "iv6 | V | I64 | V7 | vi | V7/ii | ii65 | V7 | V7/IV | IV | viio7 | I",
    "I | IV64 | V65 | I | V6/vi | vi | V6/V | V | V65/ii | ii | V65 | I | viio7/ii | ii6 | "
    "viio7/V | V | V42 | I6 | ii65 | V7 | V7/vi | vi | ii65 | I64 | V7 | I | IV64 | I",
)
PRELUDES_MINOR = (
    "i | iiø42 | V65 | i | VI | iiø65 | V | V42 | i6 | V65/iv | iv | V65/III | III | VI | bII6 | "
    "viio7/V | V | i64 | V7 | VI | iv6 | viio7 | i | V7/iv | iv64 | V7 | I",
    "i | iv64 | viio7 | i | V43/III | III | V65/VI | VI | V65/iv | iv | iiø65 | V | i6 | VI6 | "
    "iiø43 | V7 | VI | V65/V | V | V42 | i6 | bII6 | V7 | V7/iv | iv | V7 | i",
    "i | V43 | i6 | iv | VII7 | III | VI | iiø65 | viio7/V | V | V42 | i6 | V65/iv | iv | "
    "V65/VI | VI | bII6 | V | i64 | V7 | V7/iv | iv64 | viio7 | I",
)


def prelude(
    title: str, tempo: float, figure: str, which: int, *, meter: tuple[int, int] = (4, 4),
    twice: bool = True, hold: bool = False, high: int = 72,
) -> Callable[[Key, Random], Score]:
    """A prelude: one figure through a chain of chords in four parts.

    `twice` plays the figure to fill each bar; `hold` keeps the bass down under it.
    """

    def compose(key: Key, rng: Random) -> Score:
        text = (PRELUDES_MINOR if key.minor else PRELUDES_MAJOR)[which]
        bar = WHOLE * meter[0] // meter[1]
        spans = progression(key, text, bar)
        chords = [span.chord for span in spans]
        rows = [voicing.voice(chords, rng, centre=high) for _ in range(3)]
        best = min(rows, key=lambda row: sum(voicing.faults(a, b) for a, b in pairwise(row)))
        signs = FIGURES[figure].split()
        unit = bar // (len(signs) * (2 if twice else 1))
        right: list[Note] = []
        left: list[Note] = []
        for span, sounding in zip(spans, best, strict=True):
            if span.end == spans[-1].end:
                left += [Note(span.start, span.end, pitch, 72) for pitch in sounding[:2]]
                right += [Note(span.start, span.end, pitch, 76) for pitch in sounding[2:]]
                continue
            for step in range(bar // unit):
                tick = span.start + step * unit
                sign = signs[step % len(signs)]
                pitch, low = _sign(sign, sounding)
                end = span.start + bar if hold and sign == "b" and step == 0 else tick + unit
                if hold and sign == "b" and step:
                    pitch = sounding[1]
                velocity = 66 + (6 if step == 0 else 0) + (2 if not low else 0)
                (left if low else right).append(Note(tick, end, pitch, velocity))
        return Score(title, key.name, meter, tempo, (tuple(right), tuple(left)))

    return compose
