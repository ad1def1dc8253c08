"""Verified reading: the one way to read a file that may be damaged or foreign.

- Only regular files are read: pipes, devices and folders are refused without waiting for them. A
  link to a regular file is followed, since its target is verified like the file itself.
- At most as many bytes are read as files of the kind can have.
- JSON is decoded by a schema: a `msgspec.Struct` that declares the type and the range of each field
  once. NaN, infinity and numbers out of range are refused. Fields that a schema doesn't have are
  ignored: a later version may add them.

Nothing here runs code, or takes more memory than a file has bytes, whatever it holds.
"""

import functools
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn, TypeVar, cast

import msgspec
import numpy as np

from jaxmusic.errors import UserError, reason_of

Read = TypeVar("Read")
Kind = TypeVar("Kind")

# Types of fields.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

SMALL = 1 << 20  # bytes: more than any JSON file written for people
LINE = 1 << 20  # bytes of a line of JSON Lines

# For arrays of numbers NumPy always writes a header of version 1.0.
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n"
)
_INTEGERS = re.compile(r"[<>|][iu][1248]")
_KINDS = {stat.S_ISFIFO: "a pipe", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}


def open_to_read(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading. Raises OSError, and ValueError for anything else."""
    file = open(os.fspath(path), "rb", opener=_open_nonblocking)  # noqa: SIM115 (the caller closes it)
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        what = next((name for test, name in _KINDS.items() if test(mode)), "not a regular file")
        raise ValueError(f"it is {what}, where a file is expected")
    return file


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a path that may be a pipe without waiting for its writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def read_bytes(path: str | os.PathLike[str], *, most: int) -> bytes:
    """All bytes of a file. Raises OSError, and ValueError when there are more than `most`."""
    with open_to_read(path) as file:
        size = _size_of(file, most)
        content = file.read(size + 1)
    if len(content) > size:
        raise ValueError("it grew while it was read")
    return content


def _size_of(file: BufferedReader, most: int | None) -> int:
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        raise ValueError(f"it has {size:,} bytes, more than the limit of {most:,}")
    return size


def read_lines(path: str | os.PathLike[str], *, most: int = LINE) -> Iterator[bytes]:
    """The lines of a file, one at a time. Raises OSError, and ValueError for a longer line."""
    with open_to_read(path) as file:
        yield from iter_lines(file, most=most)


def iter_lines(file: IO[bytes], *, most: int = LINE) -> Iterator[bytes]:
    """The remaining lines of an open file. Raises ValueError for a longer one."""
    while line := file.readline(most + 1):
        if len(line) > most:
            raise ValueError(f"it has a line of more than {most:,} bytes")
        yield line


def read_json(path: str | os.PathLike[str], kind: type[Kind], *, most: int = SMALL) -> Kind:
    """Decode a JSON file by a schema. Raises OSError, and ValueError with the reason."""
    return parse_json(read_bytes(path, most=most), kind)


def parse_json(text: bytes | str, kind: type[Kind]) -> Kind:
    """Decode JSON by a schema. Raises ValueError with the reason."""
    try:
        value: Kind = _decoder(cast("Any", kind)).decode(text)
    except msgspec.ValidationError as error:
        raise ValueError(_reason(error)) from None
    except (ValueError, RecursionError):
        return _parse_with_json(text, kind)
    return value


def _parse_with_json(text: bytes | str, kind: type[Kind]) -> Kind:
    r"""Decode JSON that msgspec refuses as malformed.

    A file name that is not UTF-8 is written with half a surrogate pair (\udcff) for a byte.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is not JSON: it is nested too deep") from None
    return convert_json(value, kind)


def convert_json(value: Any, kind: type[Kind]) -> Kind:
    """Check and convert a decoded document by a schema. Raises ValueError with the reason."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(_reason(error)) from None


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is not a number")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it holds the number {text:.20}, which is out of range")
    return number


@functools.cache
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


def _reason(error: msgspec.ValidationError) -> str:
    """msgspec's error, beginning with the field."""
    words, _, where = str(error).partition(" - at `$")
    words = words[0].lower() + words[1:]
    if missing := re.fullmatch(r"object missing required field `(.*)`", words):
        inside = f" of {where.strip('.`')}" if where else ""
        return f"it lacks the field {missing[1]!r}{inside}"
    return f"the field {where.strip('.`')!r}: {words}" if where else words


def map_array(path: str | os.PathLike[str], *, most: int | None = None) -> np.ndarray:
    """Map an array of integers that NumPy saved, read-only.

    Raises OSError, and ValueError with the reason: for any other file, a size that differs from the
    header or exceeds `most` bytes, or an empty array.
    """
    with open_to_read(path) as file:
        start = file.read(len(_MAGIC) + 2)
        header = file.read(int.from_bytes(start[len(_MAGIC) :], "little"))
        offset = file.tell()
        size = _size_of(file, most)
        found = _HEADER.fullmatch(header)
        if not start.startswith(_MAGIC) or found is None:
            raise ValueError("it is not an array that NumPy saved")
        descr = found[1].decode("latin-1")
        if not _INTEGERS.fullmatch(descr):
            raise ValueError(f"it holds what NumPy calls {descr}, not whole numbers")
        shape = tuple(int(length) for length in found[3].split(b",") if length.strip())
        dtype = np.dtype(descr)
        whole = offset + math.prod(shape) * dtype.itemsize
        if size != whole:
            raise ValueError(f"it has {size} bytes, but its header says {whole}")
        if size == offset:
            raise ValueError("it is empty")
        return np.memmap(file, dtype, "r", offset, shape, "F" if found[2] == b"True" else "C")


def file_digest(path: str | os.PathLike[str]) -> str:
    """The digest of a file's bytes. Raises OSError, and ValueError unless it is a regular file."""
    with open_to_read(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def with_digest(document: dict[str, Any], name: str = "digest") -> dict[str, Any]:
    """A JSON document with a digest of its own content, which reveals edits and damage."""
    content = {field: value for field, value in document.items() if field != name}
    text = json.dumps(content).encode()
    return content | {name: hashlib.blake2b(text, digest_size=16).hexdigest()}


def read_verified(
    path: Path, read: Callable[[Path], Read], damaged: Callable[[str], UserError]
) -> Read:
    """Return `read(path)`, or raise the error that `damaged` makes of the reason it fails."""
    try:
        return read(path)
    except FileNotFoundError:
        raise damaged(f"{path.name} is missing (half-copied?)") from None
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise damaged(reason if path.name in reason else f"{path.name}: {reason}") from error
