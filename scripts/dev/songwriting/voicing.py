"""Four-part writing: soprano, alto, tenor and bass by the rules of the harmony class.

Whole rows of chords are voiced at once (dynamic programming over all layouts): no parallel
fifths or octaves, no doubled leading tones, sevenths fall, leading tones rise, voices keep
their ranges, don't cross, and move as little as they can.
"""

from collections.abc import Sequence
from functools import lru_cache
from random import Random

from .harmony import Chord

Voicing = tuple[int, int, int, int]  # bass, tenor, alto, soprano as MIDI pitches

BASS, TENOR, ALTO, SOPRANO = (40, 62), (48, 68), (55, 74), (60, 81)
WIDTH = 120  # voicings kept for each chord


def voice(
    chords: Sequence[Chord], rng: Random, sopranos: Sequence[int] | None = None,
    close: bool = False, centre: int = 71,
) -> list[Voicing]:
    """The best row of voicings; `sopranos` fixes the tune, `close` keeps the upper three
    within a hand, `centre` is where a free soprano likes to lie."""
    rows = []
    for place, chord in enumerate(chords):
        fixed = None if sopranos is None else sopranos[place]
        options = _voicings(chord, fixed, close)
        if not options:
            raise ValueError(f"no voicing of {chord.symbol} in {chord.key.name} under {fixed}")
        scored = [(_rest(chord, option, centre if fixed is None else option[3])
                   + int(rng.random() * 3), option) for option in options]
        rows.append(sorted(scored)[:WIDTH])
    totals = [cost for cost, _ in rows[0]]
    links: list[list[int]] = []
    for place in range(1, len(rows)):
        before, now = chords[place - 1], chords[place]
        row, link = [], []
        for own, option in rows[place]:
            best, number = min(
                (totals[number] + _move(before, former, now, option), number)
                for number, (_, former) in enumerate(rows[place - 1]))
            row.append(best + own)
            link.append(number)
        totals = row
        links.append(link)
    number = totals.index(min(totals))
    chosen = [rows[-1][number][1]]
    for place in range(len(links) - 1, -1, -1):
        number = links[place][number]
        chosen.append(rows[place][number][1])
    return chosen[::-1]


@lru_cache(maxsize=4096)
def _voicings(chord: Chord, soprano: int | None, close: bool) -> tuple[Voicing, ...]:
    found = []
    classes = set(chord.classes)
    sopranos = range(SOPRANO[0], SOPRANO[1] + 1) if soprano is None else (soprano,)
    for bass in range(BASS[0], BASS[1] + 1):
        if bass % 12 != chord.bass_class:
            continue
        for tenor in range(max(TENOR[0], bass), TENOR[1] + 1):
            if tenor % 12 not in classes or tenor - bass > 19:
                continue
            for alto in range(max(ALTO[0], tenor), min(ALTO[1], tenor + 12) + 1):
                if alto % 12 not in classes:
                    continue
                for top in sopranos:
                    if top % 12 not in classes or not alto <= top <= alto + 12:
                        continue
                    if close and top - tenor > 12:
                        continue
                    option = (bass, tenor, alto, top)
                    if _complete(chord, option):
                        found.append(option)
    return tuple(found)


def _complete(chord: Chord, option: Voicing) -> bool:
    """All members but, in root position, the fifth; leading tone and seventh only once."""
    sounding = [pitch % 12 for pitch in option]
    missing = set(chord.classes) - set(sounding)
    if missing - {chord.classes[2]} or (missing and chord.bass != 0):
        return False
    return all(sounding.count(one) == 1 for one in (chord.leading, chord.seventh)
               if one is not None)


def _rest(chord: Chord, option: Voicing, centre: int) -> int:
    """Cost of a voicing by itself."""
    bass, tenor, _, soprano = option
    sounding = [pitch % 12 for pitch in option]
    cost = abs(soprano - centre)
    cost += 4 * (len(set(chord.classes)) - len(set(sounding)))  # incomplete
    third = chord.classes[1]
    if sounding.count(third) > 1:
        cost += 6  # doubled third
    if chord.bass == 2 and len(chord.tones) == 3 and sounding.count(chord.bass_class) < 2:
        cost += 6  # a six-four doubles its bass
    if len(set(option)) < 4:
        cost += 9  # unisons
    cost += max(0, 5 - (tenor - bass)) if bass < 50 else 0  # no mud below
    return cost


def _move(before: Chord, a: Voicing, after: Chord, b: Voicing) -> int:
    """Cost of going from one voicing to the next; broken rules cost a hundred."""
    cost = 0
    for voice_number in range(4):
        leap = abs(b[voice_number] - a[voice_number])
        inner = voice_number in (1, 2)
        cost += leap * (2 if inner else 1) if voice_number else leap // 2
        if leap > (7 if voice_number else 12):
            cost += 20
        if leap in (6, 10, 11):
            cost += 10
    cost += 100 * faults(a, b)
    if before.classes == after.classes:
        return cost
    for pitch, then in zip(a, b, strict=True):
        if pitch % 12 == before.seventh and pitch - then not in (0, 1, 2):
            cost += 60  # the seventh falls by step, or stays for a while
        if pitch % 12 == before.leading and then - pitch not in (0, 1):
            falls_inside = pitch != a[3] and after.leading is None
            cost += 8 if falls_inside and pitch - then in (3, 4) else 60
    if len(after.tones) == 3 and after.bass == 2 and abs(b[0] - a[0]) > 2:
        cost += 4  # a six-four is reached by step in the bass
    return cost


def faults(a: Voicing, b: Voicing) -> int:
    """Parallel or contrary fifths and octaves, overlaps, and outer voices leaping into them."""
    count = 0
    for low in range(4):
        for high in range(low + 1, 4):
            if a[low] == b[low] or a[high] == b[high]:
                continue
            first, second = (a[high] - a[low]) % 12, (b[high] - b[low]) % 12
            hidden = ((low, high) == (0, 3) and abs(b[3] - a[3]) > 2
                      and (b[0] - a[0]) * (b[3] - a[3]) > 0)
            count += second in (0, 7) and (first == second or hidden)
    for low in range(3):
        # Overlap: a voice passes where its neighbour has just been.
        if b[low] > a[low + 1] or b[low + 1] < a[low]:
            count += 1
    return count
