"""A folder whose new content takes the old one's place, whole."""

import shutil
from pathlib import Path


def replace_folder(new: Path, target: Path) -> None:
    """Put the new folder where the old one is, if there is one."""
    if target.exists():
        target.rename(_retired(target))
    new.rename(target)
    shutil.rmtree(_retired(target), ignore_errors=True)


def bring_back(target: Path) -> None:
    """Undo or finish a replacement that was stopped half way."""
    retired = _retired(target)
    if retired.exists() and not target.exists():
        retired.rename(target)
    shutil.rmtree(retired, ignore_errors=True)


def _retired(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")
