"""Paths that users give: of this machine, with `~` expanded, in all flags of all scripts."""

import ast
import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from helpers.paths import SCRIPTS

from jaxmusic.config import Config, DataConfig, RunConfig
from jaxmusic.runtime.paths import LocalPath, PathError, local_path, with_local_paths
from jaxmusic.trainer import fit


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("USERPROFILE", "/home/somebody")  # Windows
    return "/home/somebody"


@dataclass(frozen=True)
class Inner:
    positional: Annotated[LocalPath, "mark of another"]
    maybe: LocalPath | None
    words: str = "~/no path"


@dataclass(frozen=True)
class Outer:
    several: tuple[Path, ...]
    number: int = 3
    inner: Inner = field(default_factory=lambda: Inner("~/a", None))


def test_the_home_folder_is_expanded_in_every_path(home: str) -> None:
    flags = Outer((Path("~/b"), Path("c~")), inner=Inner("~/a", "~"))
    expected = Outer((Path(home, "b"), Path("c~")), inner=Inner(f"{home}/a", home))
    assert with_local_paths(flags) == expected
    assert with_local_paths(Outer(())) == Outer((), inner=Inner(f"{home}/a", None))


@pytest.mark.parametrize(
    "path", ["a", "/a/b", "a:b", "./gs:/a", "C:/songs", "C:\\songs", "a~/b", "1:/x", "songs: a/b"]
)
def test_other_paths_stay_as_they_are(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path", ["gs://bucket/x", "s3://b", "GS:/b/x", "file:///a", "http://a/b", "hdfs+x://a"]
)
def test_addresses_are_refused(path: str) -> None:
    for refuse in (
        lambda: local_path(path),
        lambda: with_local_paths(Outer((Path(path),))),
        lambda: with_local_paths(Config(run=RunConfig(run_dir=path))),
        lambda: with_local_paths(Config(data=DataConfig(corpus=path))),
        lambda: with_local_paths(Config(data=DataConfig(midi_dir=path))),
    ):
        with pytest.raises(PathError, match="is an address, and only files and folders of this"):
            refuse()


def test_homes_that_are_not_known_and_empty_paths_are_refused() -> None:
    with pytest.raises(PathError, match="~nobody-here/x: this home folder isn't known: give the"):
        local_path("~nobody-here/x")
    with pytest.raises(PathError, match="A path is empty"):
        local_path("")


def test_training_keeps_no_folder_by_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PathError):
        fit(Config(run=RunConfig(run_dir="gs://bucket/x")))
    assert os.listdir() == []


PATHS = {"out", "json", "plot", "baseline", "folder", "midi_dir", "corpus", "run_dir", "prime",
         "notes", "show", "check", "sets", "music21", "keep", "sources"}  # fmt: skip


def test_every_flag_that_takes_a_path_is_known_as_one() -> None:
    """And every script that reads flags has their paths looked at (train.py in `fit`)."""
    for path in SCRIPTS.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Flags", "Arguments")):
                for each in node.body:
                    if isinstance(each, ast.AnnAssign) and ast.unparse(each.target) in PATHS:
                        assert "Path" in ast.unparse(each.annotation), f"{path}: {node.name}"
        if "tyro.cli(" in text and path.name != "train.py":
            assert "with_local_paths(" in text, path
    for part in (DataConfig, RunConfig):
        for known in dataclasses.fields(part):
            assert (known.name in PATHS) == ("object" in str(known.type)), known.name
