"""A folder's seal: a file with the digests of all the others, so that damage is seen."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from jaxmusic.atomic import sync, write_atomic, writing
from jaxmusic.names import shown
from jaxmusic.stored import file_digest

SEAL = "seal.json"

Contents = dict[str, list[int | str] | None]  # path in the folder: size and digest; None: a folder


class DamageError(Exception):
    """A sealed folder is not as it was written; the message tells in what, without its path."""


def write_seal(folder: Path, about: dict[str, Any]) -> None:
    """Seal a folder whose files are written, with what else is to be known of it (as JSON).

    All is on disk when this returns. Raises WriteError.
    """
    with writing(folder / SEAL):
        contents = _contents(folder)
        for name in contents:
            sync(folder / name)
    write_atomic(folder / SEAL, _render({"about": about, "contents": contents}))


def read_seal(folder: Path) -> dict[str, Any]:
    """What is told in the seal, after all files were found as they were when it was written.

    Raises DamageError when any byte of them, or of the seal, is another, or a file is missing or
    added; PermissionError when they can't be looked at.
    """
    try:
        content = (folder / SEAL).read_bytes()
        found = _contents(folder)
    except PermissionError:
        raise
    except FileNotFoundError as error:
        raise DamageError(f"{SEAL} is missing") from error
    except OSError as error:
        raise DamageError(f"it can't be read: {error.strerror}") from error
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        seal = json.loads(content)
        if content == _render({name: seal[name] for name in ("about", "contents")}):
            if flaw := _flaw(seal["contents"], found):
                raise DamageError(flaw)
            about: dict[str, Any] = seal["about"]
            return about
    raise DamageError(f"{SEAL} is not what was written")


def _render(seal: dict[str, Any]) -> bytes:
    """The one way to write a seal, with its own digest in it: any other byte is damage."""
    digest = hashlib.blake2b(json.dumps(seal).encode(), digest_size=16).hexdigest()
    return json.dumps(seal | {"digest": digest}, indent=1).encode() + b"\n"


def _contents(folder: Path) -> Contents:
    def refuse(error: OSError) -> None:
        raise error

    contents: Contents = {}
    for where, folders, files in os.walk(folder, onerror=refuse):
        for name in folders:
            contents[(Path(where) / name).relative_to(folder).as_posix()] = None
        for name in files:
            path = Path(where) / name
            if path == folder / SEAL:
                continue
            name_inside = path.relative_to(folder).as_posix()
            contents[name_inside] = [path.stat().st_size, file_digest(path)]
    return dict(sorted(contents.items()))


def _flaw(told: Contents, found: Contents) -> str:
    """In what the contents differ, in a few words; empty if in nothing."""
    for name in sorted(told.keys() | found.keys()):
        if name not in found:
            return f"{shown(name)} is missing"
        if name not in told:
            return f"{shown(name)} does not belong to it"
        if told[name] != found[name]:
            return f"{shown(name)} is not what was written"
    return ""
