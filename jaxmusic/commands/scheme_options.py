"""The flags that complete the name of a scheme."""

from dataclasses import dataclass
from typing import Literal

from jaxmusic.config import ConfigError

_WITH_OPTIONS = "timed"


@dataclass(frozen=True)
class SchemeOptions:
    """Options of the scheme `timed`. Each choice is a scheme with a name of its own."""

    # Steps of a quarter: 12 (the default) for scores, 48 for performances, where the sustain pedal
    # prolongs notes.
    grid: Literal[12, 48] | None = None
    # Whether tokens tell how loud notes are.
    loudness: bool = False

    def complete(self, scheme: str) -> str:
        """The scheme's name with these options: timed-48-loud, for example.

        Raises ConfigError for options of a scheme that has none.
        """
        if self == SchemeOptions():
            return scheme
        if scheme != _WITH_OPTIONS:
            given = "--grid" if self.grid is not None else "--loudness"
            raise ConfigError(
                f"{given} is an option of --scheme {_WITH_OPTIONS}, but --scheme is {scheme}: give "
                f"--scheme {_WITH_OPTIONS} with it, or leave it out."
            )
        grid = "" if self.grid in (None, 12) else f"-{self.grid}"
        return scheme + grid + ("-loud" if self.loudness else "")
