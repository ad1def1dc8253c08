"""MIDI files inside container files, which are recognized by their content.

Three kinds occur among .mid files: RIFF files of the kind RMID (Windows), MacBinary (a Macintosh
file with its name, kind and resources before and after it), and gzip (as a web server sent it).
"""

import zlib

from jaxmusic.midi.types import MidiError

_MIDI = b"MThd"
_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 31  # zlib's `wbits` for it
_CHUNK_HEADER_SIZE = 8
_RIFF_HEADER_SIZE = 12
_MAX_CHUNKS = 1000  # files have a handful
_MAC_HEADER_SIZE = 128
_MAC_MAX_NAME_SIZE = 63


def unwrap(data: bytes, max_size: int) -> bytes:
    """Return the MIDI file inside a container file, and the bytes of any other file unchanged.

    Raises MidiError when the container is damaged, or holds more than `max_size` bytes or no MIDI
    file. A container inside a container is not opened.
    """
    if data.startswith(_MIDI):
        return data
    if data.startswith(_GZIP):
        wrapper, inner = "gzip", _unpack(data, max_size)
    elif data[:4] == b"RIFF" and data[8:12] == b"RMID":
        wrapper, inner = "RIFF", _riff_data(data)
    elif _is_mac_binary(data):
        wrapper, inner = "MacBinary", _mac_data(data)
    else:
        return data
    if not inner.startswith(_MIDI):
        raise MidiError(f"its {wrapper} wrapper holds no MIDI file (no MThd at the start)")
    return inner


def _unpack(data: bytes, max_size: int) -> bytes:
    """Return the content of a gzip file of one member."""
    unpacker = zlib.decompressobj(wbits=_GZIP_FORMAT)
    try:
        inner = unpacker.decompress(data, max_size + 1)
    except zlib.error:
        raise MidiError("its gzip wrapper is damaged") from None
    if len(inner) > max_size:
        raise MidiError(f"unpacked it is larger than {max_size:,} bytes")
    if not unpacker.eof:
        raise MidiError("its gzip wrapper ends early")
    if unpacker.unused_data.startswith(_GZIP):
        raise MidiError("its gzip wrapper has more than one member")
    return inner


def _riff_data(data: bytes) -> bytes:
    """Return the `data` chunk of a RIFF file: all bytes that follow if its size was left at 0."""
    position = _RIFF_HEADER_SIZE
    for _ in range(_MAX_CHUNKS):
        if position >= len(data):
            break
        start = position + _CHUNK_HEADER_SIZE
        size = int.from_bytes(data[position + 4 : start], "little")
        if data[position : position + 4] == b"data":
            return data[start : start + size] if size else data[start:]
        position = start + size + size % 2  # chunks begin at even bytes
    raise MidiError("its RIFF wrapper has no chunk of data")


def _is_mac_binary(data: bytes) -> bool:
    """Whether a MIDI file follows a MacBinary header, which has no magic number of its own."""
    return (
        data.startswith(_MIDI, _MAC_HEADER_SIZE)
        and data[0] == data[74] == data[82] == 0  # required by its standard
        and 1 <= data[1] <= _MAC_MAX_NAME_SIZE
    )


def _mac_data(data: bytes) -> bytes:
    """Return the data fork: all bytes that follow if its size is 0."""
    size = int.from_bytes(data[83:87])
    start = _MAC_HEADER_SIZE
    return data[start : start + size] if size else data[start:]
