"""The MIDI files of a folder, and of the folders in it."""

import os
from pathlib import Path
from typing import NamedTuple

from jaxmusic.corpus.corpus import CorpusError
from jaxmusic.preparation.parsing import why_unreadable
from jaxmusic.runtime.printable import printable

SUFFIXES = frozenset({".mid", ".midi", ".kar"})
# macOS stores metadata of song.mid in ._song.mid on file systems that can't hold it otherwise
# (AppleDouble). They are half of all files in a folder copied from a Mac, and none is MIDI.
APPLE_DOUBLE = "._"
LINKED = "it is a link to a folder, and links to folders are not followed"


class Found(NamedTuple):
    """The content of a folder, by relative paths (with /)."""

    files: list[str]  # in the order of the corpus
    # Path -> reason: folders (with / at the end) that were not fully read, and paths that may be
    # folders.
    closed: dict[str, str]
    apple_double: int = 0  # macOS's own files, left out by their names

    @property
    def paths(self) -> list[str]:
        """Files and closed folders, in the order of the corpus."""
        return in_order([*self.files, *self.closed]) if self.closed else self.files

    @property
    def left_out(self) -> str:
        """A sentence on the files left out by their names; empty where there are none."""
        if not self.apple_double:
            return ""
        why = f"Files named {APPLE_DOUBLE}* hold no music (macOS makes them)"
        return f"{why}: {self.apple_double:,} left out."


def find_files(folder: Path) -> Found:
    """Find all .mid, .midi and .kar files below a folder, in any case, whatever they hold.

    Links to folders and folders that can't be read are listed with the reason. macOS's ._song.mid
    are counted and left out.

    Raises CorpusError when the folder isn't there, can't be read, or holds no such file.
    """
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"{printable(folder)} is a file: give a folder of MIDI files.")
    if not folder.is_dir():
        raise CorpusError(f"There is no folder {printable(folder)}: give a folder of MIDI files.")
    files: list[str] = []
    closed: dict[str, str] = {}
    apple_double: list[str] = []
    waiting = [""]  # not recursive: folders may be thousands deep
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(os.path.join(folder, inside)) as entries:
                for entry in entries:
                    path = inside + entry.name
                    try:
                        is_folder = entry.is_dir(follow_symlinks=False)
                        is_linked_folder = entry.is_symlink() and os.path.isdir(entry.path)
                    except OSError as error:  # on a file system that lists no file types
                        closed[path] = why_unreadable(error)
                        continue
                    if is_folder:
                        waiting.append(path + "/")
                    elif is_linked_folder:
                        closed[path + "/"] = LINKED
                    elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                        kind = apple_double if entry.name.startswith(APPLE_DOUBLE) else files
                        kind.append(path)
        except OSError as error:
            why = error.strerror or str(error)
            if not inside:
                raise CorpusError(
                    f"The folder {printable(folder)} can't be read: {why}. Make it readable, or "
                    "give another one."
                ) from None
            closed[inside] = f"the folder can't be read: {why}"
    found = Found(in_order(files), closed, len(apple_double))
    if not files:
        first = "".join(f" ({printable(path)}: {why}.)" for path, why in list(closed.items())[:1])
        raise CorpusError(
            f"No MIDI files in {printable(folder)}: put .mid, .midi or .kar files there, or give "
            f"another folder.{first}{found.left_out and f' ({found.left_out})'}"
        )
    return found


def in_order(paths: list[str]) -> list[str]:
    """Sorted by path in upper case, then by path: the same on every machine."""
    return sorted(paths, key=lambda path: (path.upper(), path))
