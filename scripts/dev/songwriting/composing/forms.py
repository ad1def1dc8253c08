"""Forms: how strains make dances, rondos, variations and songs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from random import Random

from .. import harmony
from ..keys import Key, position_of
from ..score import QUARTER, Score
from .phrases import Manner, Strain, choose, diminished, join, period, render, steps, strain

Form = Callable[[Key, Random], Score]


def _pair(key: Key, rng: Random) -> tuple[str, str]:
    pairs = harmony.PERIODS_MINOR if key.minor else harmony.PERIODS_MAJOR
    return pairs[int(rng.random() * len(pairs))]


def _middle(key: Key, rng: Random) -> str:
    return choose(rng, harmony.MIDDLES_MINOR if key.minor else harmony.MIDDLES_MAJOR)


def _coda(key: Key, rng: Random) -> str:
    return choose(rng, harmony.CODAS_MINOR if key.minor else harmony.CODAS_MAJOR)


def _leaving(key: Key, rng: Random) -> str:
    """A consequent that ends in the nearest key: the dominant, or the relative major."""
    return choose(rng, harmony.MODULATING_MINOR if key.minor else harmony.MODULATING_MAJOR)


def related(key: Key, how: str) -> Key:
    """A key near by: "dominant", "subdominant", "relative" or "parallel"."""
    if how == "parallel":
        return Key(key.letter, key.pitch_class, not key.minor)
    if how == "relative":
        return key.on_degree(2, False) if key.minor else key.on_degree(5, True)
    return key.on_degree(4 if how == "dominant" else 3, key.minor)


def _start(key: Key, manner: Manner) -> int:
    """Where a tune likes to begin: on the tonic's third in the middle of its compass.

    (On the fifth, the return after a half cadence would often run in fifths with the bass.)
    """
    low, high = position_of(manner.low), position_of(manner.high)
    third = (key.letter + 2) % 7
    return min((place for place in range(low, high + 1) if place % 7 == third),
               key=lambda place: abs(2 * place - low - high + 2))


def rounded(key: Key, manner: Manner, rng: Random, repeat: bool = False) -> list[Strain]:
    """Rounded binary form: a period, a middle that goes abroad, the consequent again.

    The middle takes up the period's motif, turned upside down. With `repeat` the period is
    played again with its tune filled up, as players did.
    """
    cells: dict[str, str] = {}
    text = _pair(key, rng)
    first, second = period(key, text, manner, rng, cells, start=_start(key, manner))
    motif = steps(first, 1, manner.bar)
    middle = strain(key, _middle(key, rng), replace(manner, velocity=manner.velocity - 6), rng,
                    cells, full=False, motif=motif, inverted=True,
                    start=second.positions[-1], closing=False)
    if not repeat:
        return [first, second, middle, second]
    leaving = strain(key, _leaving(key, rng), manner, rng, cells, full=True,
                     start=first.positions[0])
    filled = diminished(first, manner, QUARTER // 2, rng)
    return [first, second, filled, leaving, middle, first, second]


def dance(
    title: str, tempo: float, manner: Manner, trio: Manner | None = None,
    trio_key: str = "subdominant", *, repeat: bool = False, coda: bool = False,
) -> Form:
    """A dance with its trio and da capo."""

    def compose(key: Key, rng: Random) -> Score:
        main = rounded(key, manner, rng, repeat)
        played = list(main)
        if trio is not None:
            played += rounded(related(key, trio_key), trio, rng)
            played += main[:2] if repeat else main
        if coda:
            played.append(strain(key, _coda(key, rng), manner, rng, {}, full=True,
                                 start=played[-1].positions[-1]))
        return _score(title, key, manner, tempo, played)

    return compose


def rondo(title: str, tempo: float, refrain: Manner, episode: Manner) -> Form:
    """A B A C A and a coda: B in the dominant or relative, C in the other near key."""

    def compose(key: Key, rng: Random) -> Score:
        cells: dict[str, str] = {}
        home = list(period(key, _pair(key, rng), refrain, rng, cells, start=_start(key, refrain)))
        played = list(home)
        for place, how in enumerate(("relative" if key.minor else "dominant",
                                     "subdominant" if key.minor else "relative")):
            other = related(key, how)
            fresh: dict[str, str] = {}
            manner = episode if place == 0 else replace(refrain, figure=episode.figure,
                                                        velocity=episode.velocity)
            played += period(other, _pair(other, rng), manner, rng, fresh,
                             start=_start(other, manner))
            played.append(strain(key, _middle(key, rng), manner, rng, fresh, full=False,
                                 start=played[-1].positions[-1], closing=False))
            played += home
        played.append(strain(key, _coda(key, rng), refrain, rng, cells, full=True,
                             motif=steps(home[0], 1, refrain.bar),
                             start=home[-1].positions[-1]))
        return _score(title, key, refrain, tempo, played)

    return compose


def variations(title: str, tempo: float, theme: Manner, figures: Sequence[str]) -> Form:
    """A theme and what becomes of it: other accompaniments, running notes, full chords."""

    def compose(key: Key, rng: Random) -> Score:
        cells: dict[str, str] = {}
        text = _pair(key, rng)
        first, second = period(key, text, theme, rng, cells, start=_start(key, theme))
        middle = strain(key, _middle(key, rng), theme, rng, cells, full=False,
                        motif=steps(first, 1, theme.bar), inverted=True,
                        start=second.positions[-1], closing=False)
        strains = [first, second, middle, second]
        played = list(strains)
        for number, figure in enumerate(figures):
            manner = replace(theme, figure=figure, velocity=theme.velocity - 6 + 5 * (number % 3))
            unit = QUARTER // 2 if number % 2 == 0 else QUARTER // 4
            if figure in ("pulse", "pulse4", "march"):
                # A slow variation between the fast: the tune itself in full chords.
                manner = replace(manner, thick=2)
                played += [strain_again(one, manner) for one in strains]
            else:
                played += [diminished(one, manner, unit, rng) for one in strains]
        played.append(strain(key, _coda(key, rng), theme, rng, cells, full=True,
                             start=second.positions[-1]))
        return _score(title, key, theme, tempo, played)

    return compose


def strain_again(one: Strain, manner: Manner) -> Strain:
    """The same tune and chords in another texture."""
    return render(manner, one.slots, one.positions, one.spans)


def ground(
    title: str, tempo: float, manner: Manner, text: str, *, figures: Sequence[str],
    cells: Sequence[tuple[str, ...]],
) -> Form:
    """A chaconne: the same bars of harmony again and again under ever livelier tunes."""

    def compose(key: Key, rng: Random) -> Score:
        played: list[Strain] = []
        start = _start(key, manner)
        for number, (figure, own) in enumerate(zip(figures, cells, strict=True)):
            local = replace(manner, figure=figure, cells=own, half=own[0],
                            velocity=manner.velocity - 8 + 3 * number)
            last = number == len(figures) - 1
            if last:
                local = replace(local, final=manner.final)
            one = strain(key, text, replace(local, final=local.final if last else own[0]), rng,
                         {}, full=last, start=start, closing=last,
                         opening=_joining(played[-1], key, text) if played else ())
            start = one.positions[-1]
            played.append(one)
        tonic = "i" if key.minor else "I"
        played.append(strain(key, tonic, replace(manner, final=str(
            manner.bar // (QUARTER // 4)), thick=2), rng, {}, full=True, start=start))
        return _score(title, key, manner, tempo, played)

    return compose


def _joining(before: Strain, key: Key, text: str) -> list[int]:
    """The note with which a strain goes on after another without fifths or octaves in a row."""
    first = harmony.progression(key, text, QUARTER)[0].chord
    last, end = before.slots[-1], before.positions[-1]
    letter = end % 7
    held = (last.chord.scale[letter] - last.chord.bass_class) % 12
    near = [place for place in range(end - 3, end + 4) if place % 7 in first.letters]
    clear = [place for place in near
             if held not in (0, 7) or (first.scale[place % 7] - first.bass_class) % 12 != held]
    return [min(clear, key=lambda place: (abs(place - end), place))]


def _score(title: str, key: Key, manner: Manner, tempo: float, played: list[Strain]) -> Score:
    right, left, _ = join(played)
    ends = tuple(accumulate(one.length for one in played)) if manner.rubato else ()
    return Score(title, key.name, manner.meter, tempo, (tuple(right), tuple(left)), ends)
