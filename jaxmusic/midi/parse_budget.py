"""The limit on what is parsed of one file: enough for any music, a second or two at most.

The limit depends on the file alone, not on a clock: a file gives the same tokens, or the same
reason why it gives none, on machines of any speed.
"""

from jaxmusic.midi.types import MidiError

# The cost of a file, where a note event that array operations read costs 1. These take up to half a
# microsecond and 150 bytes each; all other costs are in proportion to their time.
MAX_COST = 2_500_000
TRACK_COST, META_COST, OTHER_COST = 150, 6, 3


class ParseBudget:
    """Counts what is parsed of a file. Each method raises MidiError when the limit is exceeded."""

    def __init__(self) -> None:
        self._left = MAX_COST
        self._tracks = self._events = self._metas = self._others = 0

    def count_track(self) -> None:
        """Count a track."""
        self._tracks += 1
        self._spend(TRACK_COST)

    def count_events(self, count: int) -> None:
        """Count events that are parsed together: notes, controllers, bends."""
        self._events += count
        self._spend(count)

    def count_meta(self) -> None:
        """Count a change of program, tempo, key or meter."""
        self._metas += 1
        self._spend(META_COST)

    def count_other(self) -> None:
        """Count anything else that is parsed by itself, such as an event or a run of them."""
        self._others += 1
        self._spend(OTHER_COST)

    def _spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise MidiError(
                f"there is too much in it: {self._events:,} notes and controllers, "
                f"{self._metas:,} changes of program, tempo, key or meter (each counts as "
                f"{META_COST}), {self._others:,} other things between them (each as {OTHER_COST}) "
                f"and {self._tracks:,} tracks (each as {TRACK_COST}) are more than {MAX_COST:,}"
            )
