"""A piece as it will be written: hands of notes, metre, key, tempo and its shaping."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxmusic.midi.types import Note
from jaxmusic.midi.writer import TICKS_PER_QUARTER, write_notes

QUARTER = TICKS_PER_QUARTER
WHOLE = 4 * QUARTER


@dataclass(frozen=True)
class Score:
    """A finished piece."""

    title: str
    key: str  # as in Key.name
    meter: tuple[int, int]  # beats, beat unit
    tempo: float  # quarters a minute
    hands: tuple[tuple[Note, ...], ...]  # each becomes one track or more, see lanes()
    breaths: tuple[int, ...] = ()  # ticks of the phrase ends before which the tempo yields

    @property
    def bar(self) -> int:
        """Ticks of one full bar."""
        return WHOLE * self.meter[0] // self.meter[1]

    @property
    def end(self) -> int:
        return max(note.end for hand in self.hands for note in hand)

    @property
    def bars(self) -> int:
        """Bars from the first to the last, an upbeat's bar counted."""
        return -(-self.end // self.bar)

    @property
    def notes(self) -> int:
        return sum(len(hand) for hand in self.hands)


def lanes(notes: Sequence[Note]) -> list[list[Note]]:
    """Split a hand into tracks in which notes either coincide exactly or don't overlap.

    Readers that look for chords (ours too) lose or split notes where one track holds voices
    of unequal lengths. Notes with the same start and end stay together and are a chord.
    """
    chords: dict[tuple[int, int], list[Note]] = defaultdict(list)
    for note in sorted(notes):
        chords[note.start, note.end].append(note)
    tracks: list[list[Note]] = []
    ends: list[int] = []
    for (start, end), members in sorted(chords.items(), key=lambda item: (
        item[0][0], -max(note.pitch for note in item[1]), item[0][1]
    )):
        place = next((one for one, free_from in enumerate(ends) if free_from <= start), len(ends))
        if place == len(ends):
            ends.append(0)
            tracks.append([])
        tracks[place].extend(members)
        ends[place] = end
    return tracks


def accented(notes: Sequence[Note], meter: tuple[int, int]) -> tuple[Note, ...]:
    """The notes with the metre's accents: the bar's first beat strongest, offbeats lightest."""
    bar = WHOLE * meter[0] // meter[1]
    beat = WHOLE * 3 // meter[1] if meter[1] == 8 and meter[0] % 3 == 0 else WHOLE // meter[1]
    shaped = []
    for note in notes:
        place = note.start % bar
        accent = 6 if place == 0 else 2 if place % beat == 0 else -4
        shaped.append(note._replace(velocity=max(20, min(120, note.velocity + accent))))
    return tuple(shaped)


def save(score: Score, path: Path) -> None:
    """Write a score as a MIDI file: equal scores give equal bytes."""
    # Seven small steps from full tempo to two thirds: a ritardando, not a brake.
    start = max(0, score.end - 2 * score.bar)
    span = score.end - start
    tempos = [(0, float(score.tempo))]
    for breath in score.breaths:
        if score.bar < breath <= start:
            tempos += [(breath - score.bar // 2, round(score.tempo * 0.93, 2)),
                       (breath, float(score.tempo))]
    tempos += [(start + span * step // 8, round(score.tempo * (1 - 0.05 * step), 2))
               for step in range(1, 8)]
    meters = [(0, *score.meter)]
    tracks = [
        track
        for hand in score.hands
        for track in lanes(accented(hand, score.meter))
    ]
    write_notes(path, tracks, tempos=tempos, meters=meters, key=score.key, title=score.title)
