"""Checks of the files that a program writes at its end, made at its start: it may take hours."""

import os
from pathlib import Path

from jaxmusic.config import ConfigError
from jaxmusic.storage import outputs


def check_output(flag: str, path: str | None) -> None:
    """Raise OutputError or ConfigError if the path of a flag can't be written."""
    if path is None:
        return
    outputs.check_output(flag, path)
    folder = Path(path).parent
    if not folder.is_dir():
        raise ConfigError(
            f"{flag} {path}: there is no folder {folder}; make it, or give another file."
        )


def check_new_folder(name: str, folder: Path) -> None:
    """Raise ConfigError unless a folder is empty or missing."""
    if os.path.lexists(folder) and not folder.is_dir():
        what = "a link that leads to no folder" if folder.is_symlink() else "a file"
        raise ConfigError(f"{name} is {what}: give a folder that is empty or missing.")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{name} is not empty: give another folder.")
