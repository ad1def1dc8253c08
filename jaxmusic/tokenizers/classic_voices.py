"""Notes that are lost when a track's overlapping notes are spread over voices.

music21 5.7.2 does this with every track that has notes which begin together and end apart. It
makes as many voices as the largest group of overlapping notes has members. That is mostly more
than enough. But music21 counts too few overlaps of notes of length 0, and a rounded end may occupy
a voice for a moment too long: a note that then fits into no voice disappears.

Times are in twelfths of a quarter. Notes are in order of their onsets.
"""

import heapq

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

TWELFTHS = 12


def lost_notes(onsets: Ints, lengths: Ints) -> list[int]:
    """Indices of the notes that fit into no voice, in order.

    Each note takes a voice that is free at its onset. Notes that begin while all voices sound are
    lost. It makes no difference which of the free voices a note takes.
    """
    capacity = _voice_count(onsets, lengths)
    if capacity <= 1 or _most_sounding(onsets, lengths) <= capacity:
        return []
    lost = []
    sounding: list[float] = []  # a heap of the ends of the notes that sound
    notes = zip(onsets.tolist(), lengths.tolist(), strict=True)
    for index, (onset, length) in enumerate(notes):
        now = onset / TWELFTHS
        # Ends are rounded and onsets exact: a voice is still taken if its end was rounded up to the
        # float nearest to this onset.
        while sounding and (sounding[0] < now or (sounding[0] == now and not rounds_up(onset))):
            heapq.heappop(sounding)
        if len(sounding) < capacity:
            heapq.heappush(sounding, _float_end(onset, length))
        else:
            lost.append(index)
    return lost


def _most_sounding(onsets: Ints, lengths: Ints) -> int:
    """An upper bound of the number of voices that suffice.

    A note of length 0, or whose end may be rounded up (that is, off the grid of fourths of a
    quarter), is assumed to sound on when another begins where it ends.
    """
    ends = onsets + lengths
    ends = 2 * ends + ((ends % 3 > 0) | (lengths == 0))
    ends.sort()
    ended = np.searchsorted(ends, 2 * onsets, "right")
    return int((np.arange(len(onsets)) - ended).max()) + 1


def _voice_count(onsets: Ints, lengths: Ints) -> int:
    """The size of the largest group of overlapping notes; 0 if no notes overlap.

    A group is a chain of notes each of which overlaps another one of the group. Groups that begin
    at the same time count as one; notes without overlaps are in none. The notes after a note that
    overlap it are consecutive, so a group is a range of notes too.
    """
    if not len(onsets):
        return 0
    furthest = np.maximum.accumulate(_last_overlaps(onsets, lengths))
    is_first = np.ones(len(onsets), np.bool_)
    is_first[1:] = np.arange(1, len(onsets)) > furthest[:-1]
    firsts = is_first.nonzero()[0]
    sizes = np.diff(firsts, append=len(onsets))
    firsts, sizes = firsts[sizes > 1], sizes[sizes > 1]
    if not len(sizes):
        return 0
    begins = onsets[firsts]
    other_begins = np.diff(begins, prepend=begins[0] - 1).nonzero()[0]
    return int(np.add.reduceat(sizes, other_begins).max())


def _last_overlaps(onsets: Ints, lengths: Ints) -> Ints:
    """For each note, the index of the last of the consecutive notes after it that it overlaps.

    Notes overlap when one begins before the other ends. Of two that begin together the shorter one
    counts as the first: when its length is 0 they do not overlap, and the range ends there. A note
    that overlaps none after it has its own index.
    """
    indices = np.arange(len(onsets))
    stops = np.searchsorted(onsets, onsets + lengths)
    empty = (lengths == 0).nonzero()[0]
    if len(empty):
        following = np.append(empty, -1)[np.searchsorted(empty, indices)]  # -1: none, and no stop
        breaks = (following >= 0) & (following < stops) & (onsets[following] == onsets)
        stops = np.where(breaks, following, stops)
        stops[empty] = empty + 1
    return stops - 1


def _float_end(onset: int, length: int) -> float:
    """The end of a note, in quarters, with music21's rounding.

    music21 stores thirds as exact fractions and fourths as floats. It rounds the sum of two values
    of the same kind once, and that of a fraction and a float twice.
    """
    if (onset % 3 == 0) == (length % 3 == 0):
        return (onset + length) / TWELFTHS
    return onset / TWELFTHS + length / TWELFTHS


def rounds_up(onset: int) -> bool:
    """Whether the float nearest to an onset, in quarters, is larger than it (as for 5/3)."""
    numerator, denominator = (onset / TWELFTHS).as_integer_ratio()
    return numerator * TWELFTHS > onset * denominator
