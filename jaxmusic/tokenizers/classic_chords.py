"""The notes of a track that sound together, as chords: the first step of the classic scheme.

A sound is one int: a pitch, or for a chord the bit `CHORD` and the set of its pitch classes.
"""

from bisect import bisect_left
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmusic.midi.types import Track
from jaxmusic.tokenizers.pitch_names import CLASS_COUNT, PITCH_COUNT

# Onsets and ends that are up to a sixteenth of a quarter note apart count as together.
_TOGETHER = 16

CHORD = 1 << CLASS_COUNT
_CLASS_BITS = np.array([1 << pitch % CLASS_COUNT for pitch in range(PITCH_COUNT)])
_CLASS_BIT_LIST = _CLASS_BITS.tolist()

Ints = npt.NDArray[np.int64]


class Gathered(NamedTuple):
    """A track's notes and chords, in order of their onsets; times in ticks."""

    onsets: Ints
    lengths: Ints
    sounds: Ints
    needs_voices: bool  # notes begin together and end apart: see `classic_voices`


def gather_chords(track: Track, ticks_per_quarter: int) -> Gathered:
    """Gather the track's notes that begin and end together into chords.

    Notes are processed in the order they begin. Each that is not in a chord yet is a head, and is
    compared with all later notes that begin at most 1/16 quarter after it: such a note joins it
    when their ends are at most 1/16 apart, even if it is in another chord already. If their ends
    are further apart, the track needs voices. A head that no note joins stays a note.

    A chord begins with its head and lasts from the last member's onset to the head's end (a
    negative length becomes 0). A length of exactly 0 becomes a quarter note.

    Notes that begin further apart don't affect each other. So the notes are cut into clusters
    there. Where all notes of a cluster are together, it is one chord or one note: array operations
    make these. The other clusters are processed note by note.
    """
    starts, ends, pitches = (np.asarray(column, np.int64) for column in track[:3])
    if not len(starts):
        return Gathered(starts, starts, starts, False)
    reach = ticks_per_quarter // _TOGETHER
    firsts = np.concatenate([[0], (starts[1:] - starts[:-1] > reach).nonzero()[0] + 1])
    stops = np.concatenate([firsts[1:], [len(starts)]])
    sizes = stops - firsts
    last_onsets = starts[stops - 1]
    spread = np.maximum.reduceat(ends, firsts) - np.minimum.reduceat(ends, firsts)
    together = (spread <= reach) & (last_onsets - starts[firsts] <= reach)
    chords = CHORD | np.bitwise_or.reduceat(_CLASS_BITS[pitches], firsts)
    sounds = np.where(sizes > 1, chords, pitches[firsts])

    needs_voices = False
    heads = firsts
    if not together.all():
        mixed = np.flatnonzero(np.repeat(~together, sizes))
        *columns, needs_voices = _gather_mixed(starts[mixed], ends[mixed], pitches[mixed], reach)
        mixed_heads, mixed_last_onsets, mixed_sounds = np.array(columns, np.int64)
        heads = np.concatenate([firsts[together], mixed[mixed_heads]])
        order = np.argsort(heads)
        heads = heads[order]
        last_onsets = np.concatenate([last_onsets[together], mixed_last_onsets])[order]
        sounds = np.concatenate([sounds[together], mixed_sounds])[order]
    lengths = ends[heads] - last_onsets
    lengths = np.where(lengths == 0, ticks_per_quarter, np.maximum(lengths, 0))
    return Gathered(starts[heads], lengths, sounds, needs_voices)


def _gather_mixed(
    starts: Ints, ends: Ints, pitches: Ints, reach: int
) -> tuple[list[int], list[int], list[int], bool]:
    """Gather note by note; return the heads' indices, last onsets and sounds, and `needs_voices`.

    The ends of any two heads that can still be joined are more than 1/16 apart. So these heads are
    kept sorted by their ends, and a note is looked up there instead of compared with all of them.
    """
    heads: list[int] = []  # indices of notes; the next four lists are parallel to it
    onsets: list[int] = []
    head_ends: list[int] = []
    last_onsets: list[int] = []  # of the last note that joined
    sounds: list[int] = []
    needs_voices = False
    open_ends: list[int] = []  # ends of the heads that can be joined, sorted
    open_heads: list[int] = []  # and their positions in `heads`
    oldest = 0  # the first head that can be joined; all later ones can be joined as well
    horizon = -1  # the last tick at which a note can join a head
    notes = zip(starts.tolist(), ends.tolist(), pitches.tolist(), strict=True)
    for index, (start, end, pitch) in enumerate(notes):
        position = 0  # in open_ends, of the first head that ends with this note or after it
        if start > horizon:
            if open_ends:
                open_ends.clear()
                open_heads.clear()
            oldest = len(onsets)
        else:
            while onsets[oldest] + reach < start:
                position = bisect_left(open_ends, head_ends[oldest])
                del open_ends[position], open_heads[position]
                oldest += 1
            position = bisect_left(open_ends, end - reach)
            joined = position
            while joined < len(open_ends) and open_ends[joined] <= end + reach:
                head = open_heads[joined]
                last_onsets[head] = start
                sound = sounds[head]
                if sound < CHORD:
                    sound = CHORD | _CLASS_BIT_LIST[sound]
                sounds[head] = sound | _CLASS_BIT_LIST[pitch]
                joined += 1
            if joined > position:
                continue
            needs_voices = True  # the open heads, at least one, end apart from this note
        open_ends.insert(position, end)
        open_heads.insert(position, len(onsets))
        heads.append(index)
        onsets.append(start)
        head_ends.append(end)
        last_onsets.append(start)
        sounds.append(pitch)
        horizon = start + reach
    return heads, last_onsets, sounds, needs_voices
