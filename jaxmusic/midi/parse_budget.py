"""How much is read of one file: enough for any music, and never more than a second or two.

The bounds depend on the file alone, not on a clock: a file gives the same tokens, or the same
reason why it gives none, on machines of any speed.
"""

from jaxmusic.midi.lenient_reader import MidiError

# What is read of a file in all, where a note event that array operations read counts as 1. They
# take up to half a microsecond and 150 bytes each; the weights of all else are what it takes
# beside them.
MOST = 2_500_000
TRACK, MARK, SINGLE = 150, 6, 3


class Effort:
    """Counts what is read of a file, and gives up when it is too much."""

    def __init__(self) -> None:
        self._left = MOST
        self._tracks = self._events = self._marks = self._singles = 0

    def track(self) -> None:
        """Count a track. Raises MidiError, as do all of these, when it is too much."""
        self._tracks += 1
        self._spend(TRACK)

    def events(self, count: int) -> None:
        """Count events that are read together: notes, controllers, bends."""
        self._events += count
        self._spend(count)

    def mark(self) -> None:
        """Count a program, tempo, key or meter."""
        self._marks += 1
        self._spend(MARK)

    def single(self) -> None:
        """Count anything else that is looked at by itself, such as an event, or a run of them."""
        self._singles += 1
        self._spend(SINGLE)

    def _spend(self, weight: int) -> None:
        self._left -= weight
        if self._left < 0:
            raise MidiError(
                f"there is too much in it: {self._events:,} notes and controllers, "
                f"{self._marks:,} changes of program, tempo, key or meter (each counts as {MARK}), "
                f"{self._singles:,} other things between them (each as {SINGLE}) and "
                f"{self._tracks:,} tracks (each as {TRACK}) are more than {MOST:,}"
            )
