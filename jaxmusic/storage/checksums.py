"""A folder's checksum manifest: sizes and digests of all its files, so that damage is detected."""

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

MANIFEST = "seal.json"  # its name in a folder, of format 1
MAX_BYTES = 64 << 20  # of a manifest

About = TypeVar("About")
Contents = dict[str, tuple[Count, str] | None]  # path -> size and digest; None: a folder


class DamageError(Exception):
    """A folder differs from its manifest; the message says in what, without the folder's path."""


class Manifest(NamedTuple):
    """What a manifest says, whether the folder still agrees with it or not."""

    about: dict[str, Any]
    paths: frozenset[str]  # of all that belongs to the folder; folders end with "/"


def write_manifest(folder: Path, about: dict[str, Any]) -> None:
    """Write the manifest of a finished folder, with JSON values that describe the folder.

    All files are on disk when this returns. Raises WriteError.
    """
    with writing(folder / MANIFEST):
        contents: Contents = {}
        for name in _paths(folder):
            path = folder / name
            contents[name] = None if path.is_dir() else (path.stat().st_size, file_digest(path))
            sync(path)
    write_atomic(folder / MANIFEST, _render({"about": about, "contents": contents}))


def verify_manifest(folder: Path, kind: type[About]) -> About:
    """Check all files of a folder against its manifest, and return the values that describe it.

    Unknown fields of `kind` are ignored. Raises DamageError when any byte of a file or of the
    manifest differs, or a file is missing or added; PermissionError when one can't be read.
    """
    try:
        content = read_bytes(folder / MANIFEST, most=MAX_BYTES)
        about, expected = _parse(content, kind)
        if difference := _difference(folder, expected, _paths(folder)):
            raise DamageError(difference)
        return about
    except PermissionError:
        raise
    except FileNotFoundError as error:
        raise DamageError(f"{printable(Path(error.filename).name)} is missing") from error
    except OSError as error:
        raise DamageError(f"it can't be read: {error.strerror}") from error
    except ValueError as error:
        raise DamageError(f"{MANIFEST}: {error}") from error


def read_manifest(folder: Path) -> Manifest | None:
    """Read a manifest without checking the files; None where it is damaged or unreadable."""
    with contextlib.suppress(OSError, ValueError, DamageError):
        content = read_bytes(folder / MANIFEST, most=MAX_BYTES)
        about, contents = _parse(content, dict[str, Any])
        names = [name + "/" * (entry is None) for name, entry in contents.items()]
        return Manifest(about, frozenset({MANIFEST, *names}))
    return None


def _parse(content: bytes, kind: type[About]) -> tuple[About, Contents]:
    try:
        document = parse_json(content, dict[str, Any])
    except ValueError:
        document = {}
    if content != _render(document):  # which includes its own digest
        raise DamageError(f"{MANIFEST} is not what was written")
    return convert_json(document.get("about"), kind), convert_json(
        document.get("contents"), Contents
    )


def _render(document: dict[str, Any]) -> bytes:
    """The only way to write a manifest: any other byte is damage."""
    return json.dumps(with_digest(document), indent=1).encode() + b"\n"


def _paths(folder: Path) -> list[str]:
    """All paths in a folder except the manifest. Links are followed to what they lead to."""

    def refuse(error: OSError) -> None:
        raise error

    paths = [
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, folders, files in os.walk(folder, onerror=refuse)
        for name in (*folders, *files)
    ]
    return sorted(path for path in paths if path != MANIFEST)


def _difference(folder: Path, expected: Contents, found: list[str]) -> str:
    """The first difference in a few words; empty if there is none.

    Only expected files of the expected size are read.
    """
    for name in sorted({*expected, *found}):
        if name not in found:
            return f"{printable(name)} is missing"
        if name not in expected:
            return f"{printable(name)} does not belong to it"
        if not _matches(folder / name, expected[name]):
            return f"{printable(name)} is not what was written"
    return ""


def _matches(path: Path, expected: tuple[int, str] | None) -> bool:
    status = path.stat()
    if expected is None:
        return stat.S_ISDIR(status.st_mode)
    size, digest = expected
    return stat.S_ISREG(status.st_mode) and status.st_size == size and file_digest(path) == digest
