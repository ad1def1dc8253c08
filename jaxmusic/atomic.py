"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_atomic(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file beside its place and rename it there: a stop leaves the old one or the new.

    Text is written as UTF-8.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    partial.replace(target)
