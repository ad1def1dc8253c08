"""A run's folder that was copied: half, damaged, or with files of another run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.midi_files import write_song

from jaxmusic.config import Config, DataConfig, ModelConfig, RunConfig, TrainConfig
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.data.dataset import make_windows, map_tokens
from jaxmusic.preparation.prepare import prepare
from jaxmusic.run import open_run
from jaxmusic.run_dir.checkpoint import CheckpointError
from jaxmusic.run_dir.folder import RunDir, RunError
from jaxmusic.run_dir.origin import start_or_resume
from jaxmusic.storage.reading import file_digest, with_digest
from jaxmusic.trainer import fit

pytestmark = pytest.mark.slow  # whole trainings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on two corpora with as many tokens and as large a vocabulary."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, (name, tokens) in enumerate({"one": "C4 D4 E4", "two": "C5 D5 E5"}.items()):
        write_song(folder / name / "a.mid", 40, seed=seed, tokens=tokens.split())
        prepare(folder / name, folder / f"{name}-corpus", workers=1)
        fit(config(folder, name), console=Console(silent=True))
    return folder


def config(folder: Path, name: str) -> Config:
    return Config(
        data=DataConfig(corpus=str(folder / f"{name}-corpus"), window=8),
        model=ModelConfig(hidden_size=8, layers=1, dense_size=8),
        train=TrainConfig(max_steps=1, batch_size=8),
        run=RunConfig(run_dir=str(folder / f"{name}-run"), compilation_cache=False),
    )


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Path:
    """A copy of the first run."""
    return Path(shutil.copytree(folder / "one-run", tmp_path / "run"))


def go_on(folder: Path, run: Path) -> None:
    """What a training does before its first step, when it goes on with a run."""
    settings = config(folder, "one")
    corpus = Corpus.open(folder / "one-corpus")
    silent = Console(silent=True)
    windows, _ = make_windows(settings, corpus, silent)
    start_or_resume(RunDir(run), settings, corpus, map_tokens(settings, corpus, silent), windows)


def faults(folder: Path, run: Path) -> set[str]:
    """What opening the run and going on with it say of its fault."""
    found = set()
    for attempt in (lambda: open_run(run), lambda: go_on(folder, run)):
        with pytest.raises(RunError) as caught:
            attempt()
        assert str(run) in str(caught.value) and "\n" not in str(caught.value)
        found.add(str(caught.value))
    return found


def test_a_copy_opens_and_goes_on(folder: Path, run: Path) -> None:
    assert open_run(run).step == 1
    go_on(folder, run)


@pytest.mark.parametrize("name", ["vocabulary.json", "primes.npy"])
def test_files_of_another_run_are_refused(folder: Path, run: Path, name: str) -> None:
    """Of the same size, so that only their content differs."""
    other = folder / "two-run" / name
    assert len(np.load(folder / "two-run" / "primes.npy")) == len(np.load(run / "primes.npy"))
    assert len(open_run(folder / "two-run").vocabulary) == len(open_run(run).vocabulary)
    shutil.copyfile(other, run / name)
    (reason,) = faults(folder, run)
    assert f"{name} is not the one that the run began with. Copy it again completely" in reason


def test_checkpoints_of_another_run_are_refused(folder: Path, run: Path) -> None:
    """Of the same step and the same shapes."""
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(folder / "two-run" / "checkpoints", run / "checkpoints")
    lines: list[str] = []
    with pytest.raises(CheckpointError, match=r"\(steps 1\) are damaged, or of other settings"):
        open_run(run, log=lines.append)
    assert lines == ["The checkpoint of step 1 is damaged, skipped: it is another run's"]
    with pytest.warns(UserWarning, match="another run's"), pytest.raises(CheckpointError):
        open_run(run)


def test_checkpoints_of_other_shapes_are_refused(folder: Path, run: Path) -> None:
    """Orbax gives them as they were saved, whatever it is asked for."""
    settings = json.loads((run / "config.json").read_text())
    settings["model"]["hidden_size"] = 9
    (run / "config.json").write_text(json.dumps(with_digest(settings)))
    lines: list[str] = []
    with pytest.raises(CheckpointError, match="are damaged, or of other settings"):
        open_run(run, log=lines.append)
    (line,) = lines
    assert "['mean'] is float32(8,), not float32(9,)" in line


@pytest.mark.parametrize("name", ["corpus.json", "vocabulary.json", "primes.npy"])
def test_a_run_copied_half_is_refused(folder: Path, run: Path, name: str) -> None:
    (run / name).unlink()
    (reason,) = faults(folder, run)
    assert f"{name} is missing (half-copied?)" in reason


def test_checkpoints_alone_are_no_run_to_begin(folder: Path, run: Path) -> None:
    """They would be gone on with, whatever they were trained on."""
    (run / "config.json").unlink()
    reasons = faults(folder, run)
    assert any("holds no run (no config.json)" in reason for reason in reasons)
    assert any(
        "damaged: config.json is missing (half-copied?), and it holds checkpoints/" in reason
        for reason in reasons
    )


def test_a_run_without_checkpoints_is_reported(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match="has no checkpoint yet"):
        open_run(run)


def npy(path: Path, array: np.ndarray) -> bytes:
    np.save(path, array)
    return path.read_bytes()


def test_every_kind_of_damage_is_reported(folder: Path, run: Path, tmp_path: Path) -> None:
    about = json.loads((run / "corpus.json").read_text())
    vocabulary = (run / "vocabulary.json").read_bytes()
    whole = (run / "config.json").read_bytes()
    array = np.zeros((3, 8), np.int32)
    for name, content, reason in [
        ("corpus.json", b"[]", "corpus.json: expected `object`, got `array`"),
        ("corpus.json", b"{", "corpus.json: it is not JSON"),
        ("corpus.json", json.dumps({**about, "tokens": "1"}).encode(), "'tokens': expected `int`"),
        ("corpus.json", json.dumps({**about, "digests": []}).encode(), "'digests': expected"),
        ("corpus.json", json.dumps({**about, "digests": {}}).encode(), "is not the one that"),
        ("vocabulary.json", vocabulary[:-9], "it is not JSON"),
        ("vocabulary.json", vocabulary.replace(b'"C4"', b'"C4x"'), "'C4x' is neither a pitch"),
        ("primes.npy", b"", "primes.npy: it is not an array"),
        ("primes.npy", npy(tmp_path / "a.npy", array[0]), "the shape (8,), not (any, 8)"),
        ("primes.npy", npy(tmp_path / "a.npy", array[:, :7]), "the shape (3, 7), not (any, 8)"),
        ("primes.npy", npy(tmp_path / "a.npy", array - 1), "tokens beyond a vocabulary of"),
        ("primes.npy", npy(tmp_path / "a.npy", array + 99), "tokens beyond a vocabulary of"),
        ("primes.npy", npy(tmp_path / "a.npy", array * 1.5), "NumPy calls <f8, not whole numbers"),
        ("config.json", b'{"format": 7}', "by a newer version of jaxmusic"),
        ("config.json", whole.replace(b'"layers": 1', b'"layers": "1"'), "'model.layers': ex"),
    ]:
        before, digests = (run / name).read_bytes(), dict(about["digests"])
        (run / name).write_bytes(content)
        if name in digests:  # so that only the structure is wrong
            digests[name] = file_digest(run / name)
            (run / "corpus.json").write_text(json.dumps({**about, "digests": digests}))
        (reason_given,) = faults(folder, run)
        assert reason in reason_given
        (run / name).write_bytes(before)
        if name in digests:
            (run / "corpus.json").write_text(json.dumps(about))
