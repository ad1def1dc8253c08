"""MIDI files inside other files, which are told by their content and not by their names.

Three kinds are met among .mid files: RIFF files of the kind RMID (Windows), MacBinary (a Macintosh
file with its name, kind and resources before and after it), and gzip (as a web server sent it).
"""

import zlib

from jaxmusic.midi.lenient_reader import MidiError

_MIDI = b"MThd"
_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 31  # zlib's `wbits` for it
_CHUNK_HEADER_SIZE = 8
_RIFF_HEADER_SIZE = 12
_MOST_CHUNKS = 1000  # looked at; files have a handful
_MAC_HEADER_SIZE = 128
_MAC_LONGEST_NAME = 63


def unwrap(data: bytes, most: int) -> bytes:
    """The MIDI file that the bytes of a file wrap; the bytes themselves when they wrap none.

    Raises MidiError when the wrapper is damaged, or holds more than `most` bytes or no MIDI file:
    a wrapper in a wrapper is not opened.
    """
    if data.startswith(_MIDI):
        return data
    if data.startswith(_GZIP):
        wrapper, inner = "gzip", _unpacked(data, most)
    elif data[:4] == b"RIFF" and data[8:12] == b"RMID":
        wrapper, inner = "RIFF", _riff_data(data)
    elif _is_mac_binary(data):
        wrapper, inner = "MacBinary", _mac_data(data)
    else:
        return data
    if not inner.startswith(_MIDI):
        raise MidiError(f"its {wrapper} wrapper holds no MIDI file (no MThd at the start)")
    return inner


def _unpacked(data: bytes, most: int) -> bytes:
    """The content of a gzip file of one member."""
    unpacker = zlib.decompressobj(wbits=_GZIP_FORMAT)
    try:
        inner = unpacker.decompress(data, most + 1)
    except zlib.error:
        raise MidiError("its gzip wrapper is damaged") from None
    if len(inner) > most:
        raise MidiError(f"unpacked it is larger than {most:,} bytes")
    if not unpacker.eof:
        raise MidiError("its gzip wrapper ends early")
    if unpacker.unused_data.startswith(_GZIP):
        raise MidiError("its gzip wrapper has more than one member")
    return inner


def _riff_data(data: bytes) -> bytes:
    """The chunk `data` of a RIFF file; up to the end of the file if its size was left at 0."""
    position = _RIFF_HEADER_SIZE
    for _ in range(_MOST_CHUNKS):
        if position >= len(data):
            break
        start = position + _CHUNK_HEADER_SIZE
        size = int.from_bytes(data[position + 4 : start], "little")
        if data[position : position + 4] == b"data":
            return data[start : start + size] if size else data[start:]
        position = start + size + size % 2  # chunks begin at even bytes
    raise MidiError("its RIFF wrapper has no chunk of data")


def _is_mac_binary(data: bytes) -> bool:
    """Whether a MacBinary header stands before a MIDI file: it has no magic number of its own."""
    return (
        data.startswith(_MIDI, _MAC_HEADER_SIZE)
        and data[0] == data[74] == data[82] == 0  # by its standard
        and 1 <= data[1] <= _MAC_LONGEST_NAME
    )


def _mac_data(data: bytes) -> bytes:
    """The data fork, without the resource fork after it; all that follows if its size is 0."""
    size = int.from_bytes(data[83:87])
    start = _MAC_HEADER_SIZE
    return data[start : start + size] if size else data[start:]
