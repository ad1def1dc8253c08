"""What lies on disk and may be damaged, or another's: JSON, arrays of whole numbers, digests.

Nothing here can run code, or take more memory than the files have bytes, whatever they hold.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxmusic.errors import UserError, reason_of

Read = TypeVar("Read")

# All that NumPy writes for an array of numbers is so small that its header is of version 1.0.
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n"
)
_INTEGERS = re.compile(r"[<>|][iu][1248]")


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds. Raises OSError, and ValueError with the reason."""
    return parse_json(Path(path).read_bytes())


def parse_json(text: bytes | str) -> Any:
    """What JSON says. Raises ValueError with the reason."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is no JSON: it is nested too deep") from None


def map_array(path: str | os.PathLike[str]) -> np.ndarray:
    """An array of whole numbers that NumPy saved, as a read-only memory map.

    Raises OSError, and ValueError with the reason when the file is anything else, also when it
    has another size than its header tells, or the array no elements.
    """
    with open(path, "rb") as file:
        start = file.read(len(_MAGIC) + 2)
        header = file.read(int.from_bytes(start[len(_MAGIC) :], "little"))
        offset = file.tell()
        size = os.fstat(file.fileno()).st_size
    found = _HEADER.fullmatch(header)
    if not start.startswith(_MAGIC) or found is None:
        raise ValueError("it is no array that NumPy saved")
    descr = found[1].decode("latin-1")
    if not _INTEGERS.fullmatch(descr):
        raise ValueError(f"it holds what NumPy calls {descr}, not whole numbers")
    shape = tuple(int(length) for length in found[3].split(b",") if length.strip())
    dtype = np.dtype(descr)
    whole = offset + math.prod(shape) * dtype.itemsize
    if size != whole:
        raise ValueError(f"it has {size} bytes, where its header tells {whole}")
    if size == offset:
        raise ValueError("it is empty")
    return np.memmap(path, dtype, "r", offset, shape, "F" if found[2] == b"True" else "C")


def file_digest(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def read_stored(
    path: Path, read: Callable[[Path], Read], damaged: Callable[[str], UserError]
) -> Read:
    """What `read` makes of a file, or the error that `damaged` makes of what is wrong with it."""
    try:
        return read(path)
    except FileNotFoundError:
        raise damaged(f"{path.name} is missing (half-copied?)") from None
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise damaged(reason if path.name in reason else f"{path.name}: {reason}") from error
