"""Names of pitches, and of chords as pitch classes in normal order: the classic tokens.

A pitch is a MIDI number (60 is C4), a pitch class a number from 0 (C) to 11 (B). A set of pitch
classes is an int whose bit c stands for class c.
"""

import functools
from collections.abc import Iterable

PITCH_COUNT = 128
CLASS_COUNT = 12

_CLASS_NAMES = ("C", "C#", "D", "E-", "E", "F", "F#", "G", "G#", "A", "B-", "B")
_LOWEST_CHORD_ROOT = 48  # C3: written chords begin in its octave


def pitch_name(pitch: int) -> str:
    """Name a pitch: a flat is "-", and pitch 0 is in octave -1, so that pitch 10 is "B--1".

    Black keys have one spelling each, whatever the key signature. Two names are ambiguous: "E-1" is
    E of octave -1 or E flat of octave 1, and "B-1" likewise.
    """
    return f"{_CLASS_NAMES[pitch % CLASS_COUNT]}{pitch // CLASS_COUNT - 1}"


@functools.cache  # 4,095 sets at most
def chord_name(classes: int) -> str:
    """Join the classes of a set in normal order by dots: "0.4.7" for C major.

    A set and its mirror image (each class negated) are packed, and the one that packs tighter
    gives the intervals, the set itself in a tie. The name begins at the lowest class of the set
    from which these intervals give exactly the set. This is music21's normal order, which differs
    from others in cases such as {0, 4, 7, 8}: it is 0.4.7.8.

    Raises ValueError for an empty set.
    """
    members = [number for number in range(CLASS_COUNT) if classes >> number & 1]
    if not members:
        raise ValueError("a chord needs at least one pitch class")
    intervals = _packed(members)
    mirrored = _packed(sorted(-number % CLASS_COUNT for number in members))
    if mirrored < intervals:
        intervals = [mirrored[-1] - step for step in reversed(mirrored)]
    for first in members:
        chord = [(first + step) % CLASS_COUNT for step in intervals]
        if class_set(chord) == classes:
            break
    return ".".join(map(str, chord))


def _packed(members: list[int]) -> list[int]:
    """The intervals of a sorted set of classes, from the member where they are packed tightest.

    That is the member with the smallest last interval; in a tie, the smallest intervals before it,
    compared from the first.
    """
    rotations = [
        [(member - members[first]) % CLASS_COUNT for member in members[first:] + members[:first]]
        for first in range(len(members))
    ]
    return min(rotations, key=lambda intervals: (intervals[-1], intervals))


def pitches_of(token: str) -> list[int]:
    """The pitches of a token: the inverse of `pitch_name` and of `chord_name`.

    "E-1" and "B-1" are read as the flats of octave 1: the other pitches are below any piano.
    A chord is voiced upwards in closed position, its first class in the octave from C3. A chord of
    one class gets its octave as well, since one pitch would be a note.

    Raises ValueError, naming the token, when it is neither the name of a pitch nor a chord in
    normal order.
    """
    pitch = _pitches_by_name().get(token)
    if pitch is not None:
        return [pitch]
    if token not in _chords_by_name():
        raise ValueError(f"{token!r} is neither a pitch nor a chord in normal order")
    first, *others = map(int, token.split("."))
    root = _LOWEST_CHORD_ROOT + first
    if not others:
        return [root, root + CLASS_COUNT]
    return [root, *(root + (other - first) % CLASS_COUNT for other in others)]


def transpose_token(token: str, semitones: int) -> str | None:
    """The token of the same music, so many semitones higher; None if a pitch leaves MIDI's range.

    Pitch classes wrap around, so that each transposition of a chord is a chord. "E-1" and "B-1"
    are read as by `pitches_of`.

    Raises ValueError, naming the token, when it is neither the name of a pitch nor a chord.
    """
    if token in _chords_by_name():
        return chord_name(class_set(int(number) + semitones for number in token.split(".")))
    (pitch,) = pitches_of(token)
    moved = pitch + semitones
    return pitch_name(moved) if 0 <= moved < PITCH_COUNT else None


@functools.cache
def _pitches_by_name() -> dict[str, int]:
    # Of two pitches with the same name the higher one stays.
    return {pitch_name(pitch): pitch for pitch in range(PITCH_COUNT)}


@functools.cache
def _chords_by_name() -> frozenset[str]:
    return frozenset(chord_name(classes) for classes in range(1, 1 << CLASS_COUNT))


def class_set(pitches: Iterable[int]) -> int:
    """The set of the pitches' classes."""
    classes = 0
    for pitch in pitches:
        classes |= 1 << pitch % CLASS_COUNT
    return classes
