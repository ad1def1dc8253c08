"""A folder's seal: a file with the digests of all the others, so that damage is seen."""

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import sync, write_atomic, writing
from jaxmusic.storage.reading import (
    Count,
    convert_json,
    file_digest,
    parse_json,
    read_bytes,
    with_digest,
)

MANIFEST = "seal.json"
LARGEST = 64 << 20  # bytes of a seal

About = TypeVar("About")
Contents = dict[str, tuple[Count, str] | None]  # path in the folder: size, digest; None: a folder


class DamageError(Exception):
    """A sealed folder is not as it was written; the message tells in what, without its path."""


def write_manifest(folder: Path, about: dict[str, Any]) -> None:
    """Seal a folder whose files are written, with what else is to be known of it (as JSON).

    All is on disk when this returns. Raises WriteError.
    """
    with writing(folder / MANIFEST):
        contents: Contents = {}
        for name in _paths(folder):
            path = folder / name
            contents[name] = None if path.is_dir() else (path.stat().st_size, file_digest(path))
            sync(path)
    write_atomic(folder / MANIFEST, _render({"about": about, "contents": contents}))


def verify_manifest(folder: Path, kind: type[About]) -> About:
    """What is told in the seal, by its schema.

    All files were found as they were when it was written. Fields that are not known are ignored.
    Raises DamageError when any byte of them, or of the seal, is another, or a file is missing or
    added; PermissionError when they can't be looked at.
    """
    try:
        content = read_bytes(folder / MANIFEST, most=LARGEST)
        about, told = _parse(content, kind)
        if flaw := _flaw(folder, told, _paths(folder)):
            raise DamageError(flaw)
        return about
    except PermissionError:
        raise
    except FileNotFoundError as error:
        raise DamageError(f"{printable(Path(error.filename).name)} is missing") from error
    except OSError as error:
        raise DamageError(f"it can't be read: {error.strerror}") from error
    except ValueError as error:
        raise DamageError(f"{MANIFEST}: {error}") from error


class Manifest(NamedTuple):
    """What a seal tells."""

    about: dict[str, Any]
    paths: frozenset[str]  # of all that belongs to the folder; folders end with "/"


def read_manifest(folder: Path) -> Manifest | None:
    """What a folder's seal tells, whether the folder is as it was written or not.

    None where the seal itself is damaged, or can't be read.
    """
    with contextlib.suppress(OSError, ValueError, DamageError):
        about, contents = _parse(read_bytes(folder / MANIFEST, most=LARGEST), dict[str, Any])
        names = [name + "/" * (what is None) for name, what in contents.items()]
        return Manifest(about, frozenset({MANIFEST, *names}))
    return None


def _parse(content: bytes, kind: type[About]) -> tuple[About, Contents]:
    try:
        seal = parse_json(content, dict[str, Any])
    except ValueError:
        seal = {}
    if content != _render(seal):  # its own digest is a part of it
        raise DamageError(f"{MANIFEST} is not what was written")
    return convert_json(seal.get("about"), kind), convert_json(seal.get("contents"), Contents)


def _render(seal: dict[str, Any]) -> bytes:
    """The one way to write a seal: any other byte is damage."""
    return json.dumps(with_digest(seal), indent=1).encode() + b"\n"


def _paths(folder: Path) -> list[str]:
    """All that lies in a folder but the seal. Links are followed: what they lead to is sealed."""

    def refuse(error: OSError) -> None:
        raise error

    paths = [
        (Path(where) / name).relative_to(folder).as_posix()
        for where, folders, files in os.walk(folder, onerror=refuse)
        for name in (*folders, *files)
    ]
    return sorted(path for path in paths if path != MANIFEST)


def _flaw(folder: Path, told: Contents, found: list[str]) -> str:
    """In what the contents differ, in a few words; empty if in nothing.

    Nothing is read but files that are told, of the size that is told.
    """
    for name in sorted({*told, *found}):
        if name not in found:
            return f"{printable(name)} is missing"
        if name not in told:
            return f"{printable(name)} does not belong to it"
        if not _is_as_told(folder / name, told[name]):
            return f"{printable(name)} is not what was written"
    return ""


def _is_as_told(path: Path, told: tuple[int, str] | None) -> bool:
    found = path.stat()
    if told is None:
        return stat.S_ISDIR(found.st_mode)
    size, digest = told
    return stat.S_ISREG(found.st_mode) and found.st_size == size and file_digest(path) == digest
