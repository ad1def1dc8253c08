"""A folder's seal: whatever is changed is seen."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxmusic.storage.checksums import MANIFEST, DamageError, verify_manifest, write_manifest
from jaxmusic.storage.reading import file_digest

ABOUT = {"step": 3, "score": 1.25}


def read(folder: Path) -> Any:
    return verify_manifest(folder, dict[str, Any])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sealed"
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "deep" / "file").write_bytes(bytes(range(20)))
    (folder / "none").touch()
    write_manifest(folder, ABOUT)
    return folder


def test_what_is_as_it_was_is_whole(folder: Path, tmp_path: Path) -> None:
    assert read(folder) == ABOUT
    assert read(folder.rename(tmp_path / "moved")) == ABOUT


def test_every_byte_counts(folder: Path) -> None:
    """Of the file and of the seal: each changed in turn, and each cut off there."""
    for path in (folder / "deep" / "file", folder / MANIFEST):
        content = path.read_bytes()
        for place in range(len(content)):
            other = bytes([content[place] ^ (1, 32)[place % 2]])  # 32: of a letter the case
            for changed in (content[:place] + other + content[place + 1 :], content[:place]):
                path.write_bytes(changed)
                with pytest.raises(DamageError, match=f"{path.name} is not what was written"):
                    read(folder)
        path.write_bytes(content)
        assert read(folder) == ABOUT


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "seal.json is missing"),
        (lambda folder: (folder / "none").unlink(), "none is missing"),
        (lambda folder: (folder / "deep" / "empty").rmdir(), "deep/empty is missing"),
        (lambda folder: (folder / "deep" / "new").touch(), "deep/new does not belong to it"),
        (lambda folder: (folder / "7").mkdir(), "7 does not belong to it"),
        (lambda folder: (folder / "none").write_bytes(b"1"), "none is not what was written"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"[1, 2]"), "seal.json is not what was"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"[" * 10**6), "seal.json is not what was"),
    ],
)
def test_what_is_missing_or_added_is_named(
    folder: Path, change: Callable[[Path], object], words: str
) -> None:
    change(folder)
    with pytest.raises(DamageError, match=words):
        read(folder)


def test_a_file_of_another_size_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be larger than anybody has time for."""
    os.truncate(folder / "none", 1 << 40)  # which takes no space

    def digest(path: Path) -> str:
        assert path.name != "none"
        return file_digest(path)

    monkeypatch.setattr("jaxmusic.storage.checksums.file_digest", digest)
    with pytest.raises(DamageError, match="none is not what was written"):
        read(folder)
