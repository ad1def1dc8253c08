"""A run's settings: written to and read from config.json, with a digest."""

import dataclasses
import json
import os
from typing import Any, get_type_hints

from jaxmusic.config import Config, ConfigError
from jaxmusic.errors import reason_of
from jaxmusic.storage.atomic import write_atomic
from jaxmusic.storage.reading import convert_json, read_json, with_digest

FORMAT = 1  # of config.json
REMEDY = "Copy the run again completely, or train anew in another folder."


def save_config(config: Config, path: str | os.PathLike[str]) -> None:
    """Write the settings as JSON, atomically."""
    document = with_digest({"format": FORMAT, **dataclasses.asdict(config)})
    write_atomic(path, json.dumps(document, indent=2) + "\n")


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read settings that `save_config` wrote.

    Raises ConfigError, naming the file, for anything else.
    """
    try:
        document = read_json(path, dict[str, Any])
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} can't be read as a run's settings: {reason_of(error)}. {REMEDY}"
        ) from error
    version = document.get("format")
    if type(version) is not int:
        raise ConfigError(
            f"{path} isn't a run's settings: it lacks the integer field 'format'. {REMEDY}"
        )
    if version != FORMAT:
        made = "a newer" if version > FORMAT else "an older"
        remedy = "update jaxmusic" if version > FORMAT else "train anew, in another folder"
        raise ConfigError(
            f"{path} was written by {made} version of jaxmusic (format {version}; this one reads "
            f"{FORMAT}): {remedy}."
        )
    _refuse_unknown(path, document)
    try:
        config = convert_json(document, Config)
    except ValueError as error:
        raise ConfigError(f"{path} can't be used: {error}. {REMEDY}") from error
    try:
        config.check()
    except ConfigError as error:
        raise ConfigError(f"{path} can't be used: {error} {REMEDY}") from error
    if document != with_digest(document):
        raise ConfigError(
            f"{path} is not what was written: its digest differs. Settings that may change are "
            f"flags of train.py; for all others train anew in another folder, or copy the run "
            "again completely."
        )
    return config


def _refuse_unknown(path: str | os.PathLike[str], document: dict[str, Any]) -> None:
    """Raise ConfigError for settings that this version would silently ignore."""
    kinds = get_type_hints(Config)
    if unknown := [repr(name) for name in document if name not in {*kinds, "format", "digest"}]:
        raise ConfigError(
            f"{path} has parts that this version doesn't know: {', '.join(unknown)}. Update "
            "jaxmusic."
        )
    for name, kind in kinds.items():
        fields, known = document.get(name), get_type_hints(kind)
        if not isinstance(fields, dict):
            raise ConfigError(f"{path} can't be used: it lacks the part {name!r}. {REMEDY}")
        if unknown := [repr(field) for field in fields if field not in known]:
            raise ConfigError(
                f"{path} has fields that this version doesn't know: {', '.join(unknown)}. Update "
                "jaxmusic."
            )
