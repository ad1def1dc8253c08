"""Notes that are lost when a track's overlapping notes are spread over voices.

music21 5.7.2 does this with every track that has notes which begin together and end apart. It
counts the voices that the notes need, and often counts too few; a note that then fits into no
voice disappears. The count and the fit are told here as one pass each over the notes, where
music21 compares notes with notes: what comes out is the same.

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
        while sounding and (
            sounding[0] < now or (sounding[0] == now and not rounds_up(onset))
        ):
            heapq.heappop(sounding)
        if len(sounding) < capacity:
            heapq.heappush(sounding, _float_end(onset, length))
        else:
            lost.append(place)
    return lost


def _voice_count(onsets: list[int], lengths: list[int]) -> int:
    """The size of the largest group of overlapping notes; 0 if nothing overlaps.

    Notes with overlaps are walked in order. A note's group is that of the last of its neighbours
    (the notes that overlap it, in order) that has one already, or else a new one, named by the
    note's onset; groups of one name are one. Neighbours without a group join it, then the note.
    So a note may stand in another group than its neighbours, and groups come out smaller or larger
    than the number of notes that sound together.

    The neighbours after note i are always the notes up to reach[i], so those of them that have a
    group already are the ones up to the furthest reach so far.
    """
    reach = _reaches(onsets, lengths)
    groups = [-1] * len(onsets)  # name of each note's group
    sizes: dict[int, int] = {}
    # Notes whose reach may cover later notes; reaches fall from the first to the last of them.
    covering: list[int] = []
    furthest = -1  # notes up to here that have a neighbour have a group
    for place, last in enumerate(reach):
        while covering and reach[covering[-1]] < place:
            covering.pop()
        if last == place and not covering:
            continue
        if last > place and furthest > place:
            group = groups[min(last, furthest)]
        elif covering:
            group = groups[covering[-1]]
        else:
            group = onsets[place]
        for joining in range(max(furthest, place) + 1, last + 1):
            groups[joining] = group
        newcomers = max(0, last - max(furthest, place))
        if furthest < place:
            groups[place] = group
            newcomers += 1
        sizes[group] = sizes.get(group, 0) + newcomers
        furthest = max(furthest, last)
        if last > place:
            while covering and reach[covering[-1]] <= last:
                covering.pop()
            covering.append(place)
    return max(sizes.values(), default=0)


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
