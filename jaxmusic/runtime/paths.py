"""Paths given by users: files and folders of this machine."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from jaxmusic.errors import UserError

_MARK = object()
LocalPath = Annotated[str, _MARK]  # the type of a field with a path (besides Path)
OptionalPath = Annotated[str | None, _MARK]

# Two letters or more: `C:/` is a Windows drive. One slash is enough: Path removes the second.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

Flags = TypeVar("Flags")


class PathError(UserError):
    """A path that is not a file or folder of this machine."""

    exit_code = 2


def with_local_paths(flags: Flags) -> Flags:
    """Expand `~` in all paths of a dataclass, and of the dataclasses in it.

    Raises PathError for URLs (gs://bucket/run), unknown home folders and empty paths.
    """
    kinds = get_type_hints(type(flags), include_extras=True)
    changed = {
        field.name: _local(getattr(flags, field.name), marked=_is_marked(kinds[field.name]))
        for field in dataclasses.fields(flags)  # type: ignore[arg-type]
    }
    return dataclasses.replace(flags, **changed)  # type: ignore[type-var]


def local_path(path: str) -> str:
    """A path with `~` expanded. Raises PathError like `with_local_paths`."""
    if not path:
        raise PathError("A path is empty: name a file or folder.")
    if _SCHEME.match(path):
        raise PathError(
            f"{path} is an address, and only files and folders of this machine can be used: mount "
            "it as a folder, and give that."
        )
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise PathError(
            f"{path}: this home folder isn't known: give the path in full (or ./{path}, if the "
            "name begins so)."
        )
    return expanded


def _local(value: Any, *, marked: bool) -> Any:
    if dataclasses.is_dataclass(value):
        return with_local_paths(value)
    if isinstance(value, tuple):
        return tuple(_local(each, marked=marked) for each in value)
    if isinstance(value, Path):
        return Path(local_path(str(value)))
    return local_path(value) if marked and isinstance(value, str) else value


def _is_marked(kind: Any) -> bool:
    """Whether a type contains LocalPath, like Positional[LocalPath]."""
    return kind is _MARK or any(map(_is_marked, get_args(kind)))
