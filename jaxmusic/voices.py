"""Notes that are lost when a track's overlapping notes are spread over voices.

music21 5.7.2 does this with every track that has notes which begin together and end apart. It
makes as many voices as the largest group of overlapping notes has members. That is mostly more
than enough, but notes of no length overlap too little by its measure, and a rounded end may take
a voice for a moment too long: a note that then fits into no voice disappears.

Times are in twelfths of a quarter. Notes stand in order of their onsets.
"""

import heapq
from bisect import bisect_left

TWELFTHS = 12


def lost_notes(onsets: list[int], lengths: list[int]) -> list[int]:
    """The places of the notes that fit into no voice, in order.

    Each note takes a voice that is free at its onset; while all voices there are sound, notes
    that begin are lost. Which of the free voices a note takes makes no difference.
    """
    capacity = _voice_count(onsets, lengths)
    if capacity <= 1:
        return []
    lost = []
    sounding: list[float] = []  # a heap of the ends of the notes that sound
    for place, (onset, length) in enumerate(zip(onsets, lengths, strict=True)):
        now = onset / TWELFTHS
        # Ends are rounded and onsets exact: a voice whose end was rounded up to the float nearest
        # to this very onset is still taken.
        while sounding and (sounding[0] < now or (sounding[0] == now and not rounds_up(onset))):
            heapq.heappop(sounding)
        if len(sounding) < capacity:
            heapq.heappush(sounding, _float_end(onset, length))
        else:
            lost.append(place)
    return lost


def _voice_count(onsets: list[int], lengths: list[int]) -> int:
    """The size of the largest group of overlapping notes; 0 if nothing overlaps.

    A group is a chain of notes each of which overlaps another of them. Groups that begin at the
    same time count as one; notes without overlaps are in none. The notes after one that overlap it
    come in an unbroken row, so a group is a row of notes too.
    """
    largest = size = 0
    begin = furthest = -1  # the group's onset; the place up to which its notes reach
    for place, reach in enumerate(_reaches(onsets, lengths)):
        if place > furthest:
            if reach == place:
                continue
            if onsets[place] != begin:
                begin, size = onsets[place], 0
        size += 1
        largest = max(largest, size)
        furthest = max(furthest, reach)
    return largest


def _reaches(onsets: list[int], lengths: list[int]) -> list[int]:
    """For each note the place of the last note after it, in an unbroken row, that it overlaps.

    Notes overlap when one begins before the other ends. Of two that begin together the shorter is
    taken as the first: when its length is 0 they do not overlap, and the row ends there.
    """
    reaches = list(range(len(onsets)))
    empty = len(onsets)  # place of the next note of length 0
    for place in range(len(onsets) - 1, -1, -1):
        if not lengths[place]:
            empty = place
            continue
        onset = onsets[place]
        stop = bisect_left(onsets, onset + lengths[place], place + 1)
        if empty < stop and onsets[empty] == onset:
            stop = empty
        reaches[place] = stop - 1
    return reaches


def _float_end(onset: int, length: int) -> float:
    """Where a note ends, in quarters, with music21's rounding.

    It keeps thirds as exact fractions and quarters as floats. The sum of two of a kind is rounded
    once, of a fraction and a float twice.
    """
    if (onset % 3 == 0) == (length % 3 == 0):
        return (onset + length) / TWELFTHS
    return onset / TWELFTHS + length / TWELFTHS


def rounds_up(onset: int) -> bool:
    """Whether the float nearest to an onset, in quarters, is above it (as for 5/3)."""
    numerator, denominator = (onset / TWELFTHS).as_integer_ratio()
    return numerator * TWELFTHS > onset * denominator
