"""Which folders the program may write, replace and remove: one rule for all of them.

A folder is ours

- when it does not exist yet;
- when it is empty;
- when its whole content proves it: we write every path in it (regular files and folders, never
  links), and the content of at least one file says what the folder is. A folder whose files are all
  empty counts as empty. (Temporary files of interrupted writes prove nothing, and don't matter.)

Any other folder is refused, with a sentence that names its content. Files are removed one by one,
by known names, and a folder only when it is empty. So nothing that somebody else wrote is ever
deleted, replaced or renamed, not even if it is put there meanwhile.

    kind of folder                        proof                        declared in
    a corpus, .NAME.replaced-*            corpus.json, ledger.jsonl    corpus_folder.py
    its work folders .NAME.partial-*      journal.jsonl                corpus_folder.py
    a run that is begun                   corpus.json, .lock           run_dir/folder.py
    a run that goes on                    config.json and corpus.json  run.py
    checkpoints/STEP                      manifest, files of Orbax     checkpoint_files.py
    checkpoints/.partial-*, .removed-*    their names                  checkpoint_files.py

A run that goes on may hold other files too (logs, notes, plots): it is never replaced or removed,
each file that we write there has a fixed name, and no other file is touched. The same holds for
checkpoints/, where only names of steps are ours. Scripts that fill a folder (sets of songs, runs
under test) take a new or empty one.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxmusic.errors import reason_of
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import is_temporary

NAMED = 3  # paths in a sentence
# An NFS client keeps a removed file under such a name while a program reads it.
_NFS_REMOVED = re.compile(r"(.*/)?\.nfs[0-9a-f]+")


class FolderKind(NamedTuple):
    """What we write into one kind of folder."""

    what: str  # as in "a corpus"
    # Whether a path below the folder is one that we write; folders end with "/".
    knows: Callable[[str], object]
    # Files that prove the kind, each with a test of its content.
    proofs: Mapping[str, Callable[[Path], bool]]


def why_foreign(folder: Path, kind: FolderKind) -> str:
    """Why we may not write to or replace a folder; empty if it is ours."""
    try:
        mode = os.lstat(folder).st_mode
        if not stat.S_ISDIR(mode):
            return "it is a link" if stat.S_ISLNK(mode) else "it is a file"
        return _foreign_content(folder, kind)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"it can't be read: {reason_of(error)}"


def _foreign_content(folder: Path, kind: FolderKind) -> str:
    known: list[str] = []
    unknown: list[str] = []
    for path, is_known in _paths(folder, kind.knows):
        (known if is_known else unknown).append(path)
    if unknown:  # before anything is opened: some may be pipes
        return f"it holds {list_paths(unknown)}"
    files = [path for path in known if not path.endswith("/") and not _is_temporary(path)]
    if (
        not any(os.lstat(folder / path).st_size for path in files)
        or not kind.proofs
        or any(name in files and proves(folder / name) for name, proves in kind.proofs.items())
    ):
        return ""
    return f"it holds {list_paths(known)}, but nothing in it proves that it is {kind.what}"


def remove_known(folder: Path, kind: FolderKind) -> None:
    """Remove what we wrote into a folder, and the folder if that was all. The rest stays.

    What proves the kind goes last: a removal that was cut off can be finished later.
    """
    if folder.is_symlink():
        return
    with contextlib.suppress(OSError):
        known = [path for path, is_known in _paths(folder, kind.knows) if is_known]
        known.sort(key=lambda path: 2 if path.endswith("/") else path in kind.proofs)
        for path in known:
            with contextlib.suppress(OSError):
                (folder / path).rmdir() if path.endswith("/") else (folder / path).unlink()
        folder.rmdir()


def real_folder(path: str | os.PathLike[str]) -> Path:
    """The folder that a path leads to: through a link, and by its own name for `.` and `..`."""
    folder = Path(path)
    if folder.is_symlink() or folder.name in ("", ".."):
        return Path(os.path.realpath(folder))
    return folder


def list_paths(paths: list[str]) -> str:
    """Some paths as a part of a sentence."""
    named = ", ".join(printable(path) for path in paths[:NAMED])
    more = len(paths) - NAMED
    return named + (f" and {more:,} more" if more > 0 else "")


def _paths(
    folder: Path, knows: Callable[[str], object], above: str = ""
) -> Iterator[tuple[str, bool]]:
    """All paths below a folder, each with whether we write it there; folders after their content.

    Nobody looks into a folder that we don't know.
    """
    for entry in _entries(folder / above):
        path = above + entry.name
        if _NFS_REMOVED.fullmatch(path):
            continue
        if not entry.is_dir(follow_symlinks=False):
            named = is_temporary(entry.name) or bool(knows(path))
            yield path, named and entry.is_file(follow_symlinks=False)
        elif not knows(path + "/"):
            yield path + "/", False
        else:
            yield from _paths(folder, knows, path + "/")
            yield path + "/", True


def _is_temporary(path: str) -> bool:
    return is_temporary(path.rpartition("/")[2])


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
