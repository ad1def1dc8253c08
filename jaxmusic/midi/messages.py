"""Parts of MIDI messages: status bytes, variable-length numbers, system messages."""

import re

from jaxmusic.midi.types import (
    KEY_SIGNATURE,
    TEMPO,
    TIME_SIGNATURE,
    MidiError,
    NonconformingError,
)

SYSEX, SYSEX_CONTINUED, META = 0xF0, 0xF7, 0xFF
KEPT_META_TYPES = frozenset((TEMPO, TIME_SIGNATURE, KEY_SIGNATURE))
# Data bytes of the other system messages. They don't belong in a file, but mido accepts them.
_SYSTEM_SIZES = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}

STANDARD_NUMBER_BYTES = 4  # the most bytes of a variable-length number in the standard
# Longer numbers are read, as by mido, up to this value: five bytes after leading zeros. It is large
# enough for a negative number of 32 bits, and so small that no sum in a file comes near 64 bits.
LARGEST_NUMBER = 2**35 - 1
_LARGEST_NUMBER_BYTES = 5
_LEADING_ZEROS = re.compile(rb"\x80*")


def number_at(data: bytes, position: int) -> tuple[int, int]:
    """Decode the variable-length number at `position`; also return the position after it.

    Raises MidiError when it is above LARGEST_NUMBER, IndexError when the data end within it.
    """
    value = 0
    for index in range(position, position + _LARGEST_NUMBER_BYTES):
        byte = data[index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, index + 1
    if data[position] == 0x80:
        zeros = _LEADING_ZEROS.match(data, position)
        assert zeros is not None  # the pattern matches no bytes as well
        return number_at(data, zeros.end())
    raise MidiError(f"a number in a track is above {LARGEST_NUMBER:,}")


def skip_system(data: bytes, position: int, status: int) -> int:
    """The position after the system message whose data begin at `position`.

    Raises NonconformingError for a status that the standard doesn't define and for data bytes above
    127, IndexError when the data end within the message's size.
    """
    if status in (SYSEX, SYSEX_CONTINUED):
        size, position = number_at(data, position)
        body = data[position : position + size].removeprefix(b"\xf0").removesuffix(b"\xf7")
    elif status in _SYSTEM_SIZES:
        size = _SYSTEM_SIZES[status]
        body = data[position : position + size]
    else:
        raise NonconformingError
    if not body.isascii():
        raise NonconformingError
    return position + size


def skip_running_system(data: bytes, position: int, status: int) -> int:
    """Like `skip_system`, without a status byte, which the standard forbids and mido accepts."""
    if status in (SYSEX, SYSEX_CONTINUED):
        return skip_system(data, position + 1, status)  # mido drops the first byte
    if not _SYSTEM_SIZES[status]:
        raise NonconformingError
    return skip_system(data, position, status)
