"""Which files a checkpoint consists of: its manifest and what Orbax writes.

A folder with any other file is not removed or replaced (see owned_folder.py).
"""

import contextlib
import re
from pathlib import Path
from typing import Any

from jaxmusic.storage.checksums import MANIFEST, read_manifest
from jaxmusic.storage.owned_folder import FolderKind, why_foreign
from jaxmusic.storage.reading import open_to_read, read_json

MAX_METADATA_BYTES = 64 << 20  # of Orbax's JSON files
# Orbax's files, also those of an unfinished save: for folders without a readable manifest.
_ORBAX_FILE = re.compile(
    r"state(\.orbax-checkpoint-tmp[^/]*)?/("
    r"_CHECKPOINT_METADATA|_METADATA|_sharding|commit_success\.txt|array_metadatas/(process_\d+)?|"
    r"(ocdbt\.process_\d+/)?(manifest\.ocdbt(\.__lock)?|d/([0-9a-f]{32}(\.__lock)?)?)?)?"
)


def why_not_checkpoint(folder: Path, run: str | None) -> str:
    """Why a folder is not a checkpoint of this run, damaged or not; empty if it is one."""
    if why := why_foreign(folder, checkpoint_kind(folder)._replace(proofs=_PROOFS)):
        return why
    manifest = read_manifest(folder)
    other = None if manifest is None else manifest.about.get("run")
    return "it is another run's" if None not in (other, run) and other != run else ""


def checkpoint_kind(folder: Path) -> FolderKind:
    """A finished or unfinished checkpoint, recognised by its file names only.

    That is enough for temporary folders, whose own name is proof.
    """
    manifest = read_manifest(folder)
    knows = _is_checkpoint_file if manifest is None else manifest.paths.__contains__
    return FolderKind("a checkpoint", knows, {})


def _is_checkpoint_file(path: str) -> bool:
    return path == MANIFEST or _ORBAX_FILE.fullmatch(path) is not None


def _is_metadata(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        content = read_json(path, dict[str, Any], most=MAX_METADATA_BYTES)
        return "item_handlers" in content or "tree_metadata" in content
    return False


def _is_tensorstore_manifest(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError), open_to_read(path) as file:
        return file.read(4) == b"\x0c\xdb:*"
    return False


# Any one of these files, if intact, proves that the folder is a checkpoint.
_PROOFS = {
    MANIFEST: lambda path: read_manifest(path.parent) is not None,
    "state/_CHECKPOINT_METADATA": _is_metadata,
    "state/_METADATA": _is_metadata,
    "state/manifest.ocdbt": _is_tensorstore_manifest,
}
