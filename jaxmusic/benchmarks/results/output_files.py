"""Files that a script writes at its end, looked at before it begins: it may take hours."""

import os
from pathlib import Path

from jaxmusic.config import ConfigError
from jaxmusic.storage import outputs


def check_output(flag: str, path: str | None) -> None:
    """Raise OutputError or ConfigError where no file can be written to the path of a flag."""
    if path is None:
        return
    outputs.check_output(flag, path)
    folder = Path(path).parent
    if not folder.is_dir():
        raise ConfigError(
            f"{flag} {path}: there is no folder {folder}; make it, or give another file."
        )


def check_new_folder(name: str, folder: Path) -> None:
    """Raise ConfigError where a folder to write to isn't new, or holds anything."""
    if os.path.lexists(folder) and not folder.is_dir():
        what = "a link that leads to no folder" if folder.is_symlink() else "a file"
        raise ConfigError(f"{name} is {what}: give a folder, one that is empty or not there.")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{name} is not empty: give another folder.")
