"""A run's settings as JSON, both ways."""

import inspect
import json
import os
from dataclasses import asdict
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxmusic.atomic import write_atomic
from jaxmusic.config import Config, ConfigError
from jaxmusic.errors import reason_of
from jaxmusic.stored import read_json

FORMAT = 1  # of config.json
REMEDY = "Copy the run again, whole, or train anew in another folder."


def save_config(config: Config, path: str | os.PathLike[str]) -> None:
    """Write the settings as JSON, whole or not at all."""
    document = {"format": FORMAT, **asdict(config)}
    write_atomic(path, json.dumps(document, indent=2) + "\n")


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read settings that `save_config` wrote.

    Raises ConfigError, naming the file, for anything else.
    """
    try:
        document = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} can't be read as a run's settings: {reason_of(error)}. {REMEDY}"
        ) from error
    version = document.pop("format", None) if isinstance(document, dict) else None
    if type(version) is not int:
        raise ConfigError(f"{path} holds no run's settings: it tells no format. {REMEDY}")
    if version != FORMAT:
        made = "a newer" if version > FORMAT else "an older"
        remedy = "update jaxmusic" if version > FORMAT else "train anew, in another folder"
        raise ConfigError(
            f"{path} was written by {made} version of jaxmusic (format {version}; this one reads "
            f"{FORMAT}): {remedy}."
        )
    kinds = get_type_hints(Config)
    if unknown := [repr(name) for name in document if name not in kinds]:
        raise ConfigError(
            f"{path} has parts that this version doesn't know: {', '.join(unknown)}. Update "
            "jaxmusic."
        )
    parts = {name: _read_part(path, name, kind, document) for name, kind in kinds.items()}
    config = Config(**parts)
    try:
        config.check()
    except ConfigError as error:
        raise ConfigError(f"{path} can't be used: {error} {REMEDY}") from error
    return config


def _read_part(
    path: str | os.PathLike[str], name: str, kind: type[Any], document: dict[str, Any]
) -> Any:
    """One part of the settings; fields that it lacks have their defaults, as older runs need."""
    content = document.get(name)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} can't be used: it has no part {name!r}. {REMEDY}")
    kinds = get_type_hints(kind)
    if unknown := [repr(field) for field in content if field not in kinds]:
        raise ConfigError(
            f"{path} has fields that this version doesn't know: {', '.join(unknown)}. Update "
            "jaxmusic."
        )
    for field_name, value in content.items():
        if not _fits(value, kinds[field_name]):
            expected = inspect.formatannotation(kinds[field_name])
            raise ConfigError(
                f"{path} can't be used: its {field_name} is {value!r:.50}, where a value of the "
                f"type {expected} belongs. {REMEDY}"
            )
    return kind(**content)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value that JSON gave is of a field's type."""
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_args(kind):  # one of several
        return any(_fits(value, each) for each in get_args(kind))
    if kind is float and type(value) is int:
        return abs(value) <= 2**53
    return type(value) is kind
