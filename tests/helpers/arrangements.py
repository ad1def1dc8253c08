"""What a user may have in his folder when he makes a mistake, and how it came to be damaged.

An arrangement is a function of the work; most are made by the functions here.
"""

import contextlib
import errno
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers.midi_files import write_song

from jaxmusic.config import Config, DataConfig, ModelConfig, RunConfig, TrainConfig
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import DIGESTED, digest_of
from jaxmusic.corpus.metadata import OWN_DIGEST
from jaxmusic.preparation.prepare import prepare
from jaxmusic.preparation.sources.notebook_notes import prepare_notes
from jaxmusic.storage.file_lock import hold_lock
from jaxmusic.storage.reading import file_digest, with_digest
from jaxmusic.tokenizers.classic import ClassicTokenizer
from jaxmusic.tokenizers.tokenizer import TOKENIZERS
from jaxmusic.trainer import fit


class Workplace(NamedTuple):
    """Where a command runs: a folder of its own, and what is undone afterwards."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    stack: contextlib.ExitStack


Arrange = Callable[[Workplace], None]


def make_inputs(folder: Path) -> None:
    """Folders of songs, of nothing and of rubbish; corpora; notes; a run of one step."""
    (folder / "empty").mkdir(parents=True)
    (folder / "bad").mkdir()
    (folder / "bad" / "a.mid").write_bytes(b"RIFF")
    write_song(folder / "short" / "a.mid", 50, seed=1)
    write_song(folder / "long" / "a.mid", 150, seed=2)
    for number in range(2):
        write_song(folder / "songs" / f"{number}.mid", 60, seed=number)
    write_song(folder / "uneven" / "a.mid", 5, seed=1)
    write_song(folder / "uneven" / "b.mid", 200, seed=2)
    write_song(folder / "deep.mid", 50, tokens=["C1", "D1"])
    write_song(folder / "brief.mid", 3)
    (folder / "notes").write_bytes(pickle.dumps(["C4", "E4"] * 20))
    prepare_notes(folder / "notes", folder / "of-notes")
    for songs in ("songs", "long"):
        prepare(folder / songs, folder / f"{songs}-corpus", workers=1)
    config = Config(
        data=DataConfig(corpus=str(folder / "songs-corpus"), window=8),
        model=ModelConfig(hidden_size=8, layers=1, dense_size=8),
        train=TrainConfig(max_steps=1, batch_size=8),
        run=RunConfig(run_dir=str(folder / "songs-run"), compilation_cache=False),
    )
    fit(config, console=Console(silent=True))


def nothing(work: Workplace) -> None:
    """The folder as `make_inputs` made it."""


def several(*arrangements: Arrange) -> Arrange:
    def arrange(work: Workplace) -> None:
        for each in arrangements:
            each(work)

    return arrange


def removed(*names: str) -> Arrange:
    def arrange(work: Workplace) -> None:
        for name in names:
            (work.folder / name).unlink()

    return arrange


def written(name: str, content: str | bytes) -> Arrange:
    def arrange(work: Workplace) -> None:
        data = content.encode() if isinstance(content, str) else content
        (work.folder / name).write_bytes(data)

    return arrange


def added(name: str, line: str) -> Arrange:
    def arrange(work: Workplace) -> None:
        with (work.folder / name).open("a") as file:
            file.write(line)

    return arrange


def replaced(name: str, old: str, new: str, *, count: int = -1) -> Arrange:
    """Other words in a text."""

    def arrange(work: Workplace) -> None:
        path = work.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, count))

    return arrange


def copied(source: str, target: str) -> Arrange:
    """A file, or a folder that takes the place of another."""

    def arrange(work: Workplace) -> None:
        path, place = work.folder / source, work.folder / target
        if path.is_dir():
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(path, place)
        else:
            place.write_bytes(path.read_bytes())

    return arrange


def linked(name: str, target: str) -> Arrange:
    """A link; a folder that was there is moved to where the link leads."""

    def arrange(work: Workplace) -> None:
        path = work.folder / name
        if path.is_dir():
            path.rename(path.parent / target)
        path.symlink_to(target)

    return arrange


def as_folder(name: str) -> Arrange:
    """A folder where a file belongs."""

    def arrange(work: Workplace) -> None:
        path = work.folder / name
        if path.exists():
            path.unlink()
        path.mkdir()

    return arrange


def fields(name: str, *, without: str = "", **values: Any) -> Arrange:
    """A JSON file with other values and without the field `without`; `a__b` is b in a."""

    def arrange(work: Workplace) -> None:
        path = work.folder / name
        content = json.loads(path.read_text())
        for key, value in values.items():
            part, _, field = key.rpartition("__")
            (content[part] if part else content)[field] = value
        content.pop(without, None)
        path.write_text(json.dumps(content))

    return arrange


def array(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Arrange:
    """An array of the right format with other content."""

    def arrange(work: Workplace) -> None:
        path = work.folder / name
        found = np.load(path)
        np.save(path, make(found))

    return arrange


def sealed(name: str) -> Arrange:
    """A corpus.json that has the digest of itself, whatever it says."""

    def arrange(work: Workplace) -> None:
        path = work.folder / name
        path.write_text(json.dumps(with_digest(json.loads(path.read_text()), OWN_DIGEST)))

    return arrange


def forged(corpus: str) -> Arrange:
    """A corpus whose digests are right, whatever it holds."""

    def arrange(work: Workplace) -> None:
        folder = work.folder / corpus
        digests = {name: file_digest(folder / name) for name in DIGESTED}
        about = json.loads((folder / "corpus.json").read_text())
        about |= {"digests": digests, "digest": digest_of(digests)}
        about["ledger"] = file_digest(folder / "ledger.jsonl")
        (folder / "corpus.json").write_text(json.dumps(with_digest(about, OWN_DIGEST)))

    return arrange


def run_forged(run: str) -> Arrange:
    """A run whose digests are right, whatever its files hold."""

    def arrange(work: Workplace) -> None:
        folder = work.folder / run
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(with_digest(config)))
        about = json.loads((folder / "corpus.json").read_text())
        about["digests"] = {name: file_digest(folder / name) for name in about["digests"]}
        (folder / "corpus.json").write_text(json.dumps(about))

    return arrange


def as_pipe(name: str) -> Arrange:
    """A pipe without a writer, where a file belongs."""

    def arrange(work: Workplace) -> None:
        path = work.folder / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return arrange


def every_file(folder: str, content: bytes) -> Arrange:
    """All files below a folder hold this."""

    def arrange(work: Workplace) -> None:
        paths = [path for path in (work.folder / folder).rglob("*") if path.is_file()]
        assert paths
        for path in paths:
            path.write_bytes(content)

    return arrange


def without_checkpoints(run: str, *, folder_too: bool) -> Arrange:
    def arrange(work: Workplace) -> None:
        checkpoints = work.folder / run / "checkpoints"
        for path in sorted(checkpoints.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if folder_too:
            checkpoints.rmdir()

    return arrange


def pickled(name: str, content: object) -> Arrange:
    return written(name, pickle.dumps(content))


def closed(name: str) -> Arrange:
    """A folder that its user may not read; said here, for a superuser may."""

    def arrange(work: Workplace) -> None:
        folder = work.folder / name
        folder.mkdir()
        scandir = os.scandir

        def refuse(path: Any = ".") -> Any:
            if Path(path).resolve() == folder.resolve():
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return scandir(path)

        work.monkeypatch.setattr(os, "scandir", refuse)

    return arrange


def not_installed(module: str) -> Arrange:
    def arrange(work: Workplace) -> None:
        work.monkeypatch.setitem(sys.modules, module, None)

    return arrange


def held(name: str) -> Arrange:
    """Another training is at work in the folder."""

    def arrange(work: Workplace) -> None:
        work.stack.enter_context(hold_lock(work.folder / name / ".lock", lambda owner: None))

    return arrange


def sparse(name: str, size: int) -> Arrange:
    """A file of so many bytes that takes no room."""

    def arrange(work: Workplace) -> None:
        with (work.folder / name).open("wb") as file:
            os.truncate(file.fileno(), size)

    return arrange


def raising(error: Exception) -> Callable[..., Any]:
    def refuse(*arguments: Any, **named: Any) -> Any:
        raise error

    return refuse


def refused(function: str, name: str) -> Arrange:
    """A function that reads may not do so; said here, for a superuser may."""
    return patched(function, raising(PermissionError(errno.EACCES, "Permission denied", name)))


def known_scheme(name: str) -> Arrange:
    """A second token scheme."""

    def arrange(work: Workplace) -> None:
        work.monkeypatch.setitem(TOKENIZERS, name, ClassicTokenizer())

    return arrange


def patched(target: str, value: Any) -> Arrange:
    """What can't be made here: another machine."""

    def arrange(work: Workplace) -> None:
        work.monkeypatch.setattr(target, value)

    return arrange
