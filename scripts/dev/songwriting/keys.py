"""Keys and spelled pitches: the seven letters, and what a key makes of them."""

from dataclasses import dataclass

LETTERS = "CDEFGAB"
NATURAL = (0, 2, 4, 5, 7, 9, 11)  # pitch class of each letter
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)  # natural minor; dominants raise the seventh degree themselves
ACCIDENTALS = {"": 0, "#": 1, "##": 2, "b": -1, "bb": -2}
_FIFTHS = "FCGDAEB"


@dataclass(frozen=True)
class Key:
    """A key by its tonic's letter and pitch class, so that every degree has one letter."""

    letter: int  # 0-6, C to B
    pitch_class: int  # 0-11
    minor: bool

    @classmethod
    def parse(cls, name: str) -> "Key":
        """The key that a name such as "C", "Bb" or "F#m" means."""
        minor = name.endswith("m")
        tonic = name.removesuffix("m")
        if not tonic or tonic[0] not in LETTERS or tonic[1:] not in ("", "#", "b"):
            raise ValueError(f"no such key: {name!r}")
        letter = LETTERS.index(tonic[0])
        key = cls(letter, (NATURAL[letter] + ACCIDENTALS[tonic[1:]]) % 12, minor)
        if abs(key.sharps) > 7:
            raise ValueError(f"{name} needs more than seven accidentals")
        return key

    @property
    def name(self) -> str:
        """The name as MIDI files write it: "Bb", "F#m"."""
        return spell(self.letter, self.pitch_class) + ("m" if self.minor else "")

    @property
    def sharps(self) -> int:
        """Sharps of the key signature; flats count below zero."""
        place = _FIFTHS.index(LETTERS[self.letter]) - 1
        place += 7 * accidental(self.letter, self.pitch_class)
        return place - 3 if self.minor else place

    @property
    def scale(self) -> tuple[int, ...]:
        """Pitch class of each letter C to B in this key (minor: the natural one)."""
        steps = MINOR if self.minor else MAJOR
        classes = [0] * 7
        for degree in range(7):
            classes[(self.letter + degree) % 7] = (self.pitch_class + steps[degree]) % 12
        return tuple(classes)

    def on_degree(self, degree: int, minor: bool) -> "Key":
        """The key on one of this key's degrees (0-6)."""
        letter = (self.letter + degree) % 7
        return Key(letter, self.scale[letter], minor)


def accidental(letter: int, pitch_class: int) -> int:
    """Semitones by which a letter is raised to sound this pitch class (-6 to 5)."""
    return (pitch_class - NATURAL[letter] + 6) % 12 - 6


def spell(letter: int, pitch_class: int) -> str:
    """A letter with its accidentals: "C", "F#", "Bb"."""
    raised = accidental(letter, pitch_class)
    return LETTERS[letter] + ("#" * raised if raised > 0 else "b" * -raised)


def midi_pitch(position: int, scale: tuple[int, ...]) -> int:
    """MIDI number of a staff position (7 x octave + letter) under a scale by letters."""
    octave, letter = divmod(position, 7)
    return 12 * (octave + 1) + NATURAL[letter] + accidental(letter, scale[letter])


def position_of(name: str) -> int:
    """Staff position of a letter with its octave: "C4" is 28."""
    return 7 * int(name[1:]) + LETTERS.index(name[0])
