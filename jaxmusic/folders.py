"""The MIDI files of a folder, and of the folders in it."""

import os
from pathlib import Path
from typing import NamedTuple

from jaxmusic.corpus import CorpusError
from jaxmusic.names import shown
from jaxmusic.parsing import unreadable

SUFFIXES = frozenset({".mid", ".midi", ".kar"})
LINKED = "it is a link to a folder, and links to folders are not followed"


class Found(NamedTuple):
    """What a folder holds, by relative paths (with /)."""

    files: list[str]  # in the order of the stream
    # Folders (with / at the end) that were not entered, or not to the end, and what may be one.
    closed: dict[str, str]

    @property
    def paths(self) -> list[str]:
        """Files and closed folders, in the order of the stream."""
        return in_order([*self.files, *self.closed]) if self.closed else self.files


def find_files(folder: Path) -> Found:
    """All .mid, .midi and .kar files below a folder, any case, whatever they are.

    Linked folders are not entered, and folders that can't be read are passed over: both are told,
    with the reason.

    Raises CorpusError when the folder isn't there, can't be read, or holds no such file.
    """
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"{shown(folder)} is a file: give a folder of MIDI files.")
    if not folder.is_dir():
        raise CorpusError(f"There is no folder {shown(folder)}: give a folder of MIDI files.")
    files: list[str] = []
    closed: dict[str, str] = {}
    waiting = [""]  # no recursion: folders may be thousands deep
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(os.path.join(folder, inside)) as entries:
                for entry in entries:
                    path = inside + entry.name
                    try:
                        is_folder = entry.is_dir(follow_symlinks=False)
                        is_linked_folder = entry.is_symlink() and os.path.isdir(entry.path)
                    except OSError as error:  # of a disk that tells no kinds with the names
                        closed[path] = unreadable(error)
                        continue
                    if is_folder:
                        waiting.append(path + "/")
                    elif is_linked_folder:
                        closed[path + "/"] = LINKED
                    elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                        files.append(path)
        except OSError as error:
            why = error.strerror or str(error)
            if not inside:
                raise CorpusError(
                    f"The folder {shown(folder)} can't be read: {why}. Make it readable, or give "
                    "another one."
                ) from None
            closed[inside] = f"the folder can't be read: {why}"
    if not files:
        first = "".join(f" ({shown(path)}: {why}.)" for path, why in list(closed.items())[:1])
        raise CorpusError(
            f"No MIDI files in {shown(folder)}: put .mid, .midi or .kar files there, or give "
            f"another folder.{first}"
        )
    return Found(in_order(files), closed)


def in_order(paths: list[str]) -> list[str]:
    """By path in upper case, then by the path itself, the same on every machine."""
    return sorted(paths, key=lambda path: (path.upper(), path))
