"""Which code runs: versions and the digest of the sources."""

import shutil
from pathlib import Path

import jax
import pytest

import jaxmusic
from jaxmusic.runtime import versions as sources
from jaxmusic.runtime.versions import package_versions, sources_digest

PACKAGE = Path(jaxmusic.__path__[0])


def test_versions_are_those_of_the_packages() -> None:
    found = package_versions()
    assert found["jax"] == jax.__version__
    assert set(found) == {"jaxmusic", "jax", "jaxlib", "flax", "optax", "numpy"}
    assert all(version[0].isdigit() for version in found.values())


def test_a_package_without_metadata_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PACKAGES", ("jaxmusic_of_nowhere",))
    assert package_versions() == {"jaxmusic_of_nowhere": "not installed"}


def test_the_digest_is_that_of_all_sources_and_their_names(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "copy", ignore=ignore))
    digests = {sources_digest(copy)}
    assert digests == {sources_digest()}  # wherever it lies, compiled or not
    for number, change in enumerate(("trainer.py", "nn/cpu/lstm.cc", "nn/cpu/cell.h")):
        changed = Path(shutil.copytree(copy, tmp_path / str(number)))
        with (changed / change).open("a") as file:
            file.write(" ")
        digests.add(sources_digest(changed))
    renamed = Path(shutil.copytree(copy, tmp_path / "renamed"))
    (renamed / "trainer.py").rename(renamed / "fitter.py")
    digests.add(sources_digest(renamed))
    assert len(digests) == 5
    (renamed / "notes.txt").write_text("no source")
    assert sources_digest(Path(shutil.copytree(renamed, tmp_path / "noted"))) in digests
