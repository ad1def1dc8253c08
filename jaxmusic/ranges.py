"""Ranges of settings, which stand in the annotations of their fields."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_type_hints

from jaxmusic.errors import UserError


class ConfigError(UserError):
    """A setting is out of its range or doesn't fit the others; the message names the flag."""

    exit_code = 2


@dataclass(frozen=True)
class Range:
    """The values that a field may have, and the words for them."""

    words: str
    contains: Callable[[Any], bool]


def at_most(most: int) -> Range:
    """Whole numbers up to `most`."""
    return Range(f"at most {most:,}", lambda value: value <= most)


AT_LEAST_ONE = Range("1 or more", lambda value: value >= 1)
NOT_NEGATIVE = Range("0 or more", lambda value: value >= 0)
NOT_NEGATIVE_FINITE = Range("0 or more and finite", lambda value: 0 <= value < math.inf)
POSITIVE = Range("above 0 and finite", lambda value: 0 < value < math.inf)
BELOW_ONE = Range("from 0 to below 1", lambda value: 0 <= value < 1)
SHARE = Range("from 0 to 1", lambda value: 0 <= value <= 1)
SEED = Range("from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32)

Count = Annotated[int, AT_LEAST_ONE, at_most(2**31 - 1)]
# Far beyond any device: refused at once, as building such arrays would take long.
Layers = Annotated[int, AT_LEAST_ONE, at_most(128)]
Width = Annotated[int, AT_LEAST_ONE, at_most(2**22)]
Length = Annotated[int, AT_LEAST_ONE, at_most(2**20)]
BatchSize = Annotated[int, AT_LEAST_ONE, at_most(2**24)]
WidthOrNone = Annotated[int, NOT_NEGATIVE, at_most(2**22)]
Rate = Annotated[float, BELOW_ONE]


def check_ranges(part: Any) -> None:
    """Raise ConfigError for a field of a dataclass with a value out of its range.

    None, where the field allows it, is always in range.
    """
    for name, kind in get_type_hints(type(part), include_extras=True).items():
        value = getattr(part, name)
        for annotated in (kind, *get_args(kind)):
            for limit in getattr(annotated, "__metadata__", ()):
                if isinstance(limit, Range) and value is not None and not limit.contains(value):
                    raise ConfigError(f"{flag(name)} is {value}, but must be {limit.words}.")


def flag(field_name: str) -> str:
    """A field's name as the command line spells it."""
    return "--" + field_name.replace("_", "-")
