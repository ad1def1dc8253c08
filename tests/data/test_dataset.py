"""What a training reads."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.midi_files import write_song

from jaxmusic.config import PRESETS, Config, DataConfig, ModelConfig, RunConfig, TrainConfig
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import CorpusError
from jaxmusic.data.batch_sampler import BatchSampler
from jaxmusic.data.dataset import make_windows, open_corpus
from jaxmusic.distributed.processes import Processes
from jaxmusic.preparation.prepare import prepare
from jaxmusic.trainer import fit

needs_seed_songs = pytest.mark.skipif(
    "JAXMUSIC_SEED_SONGS" not in os.environ,
    reason="JAXMUSIC_SEED_SONGS (a folder of the 92 published songs) is not set",
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Settings that train on a folder of one song, in the current directory."""
    monkeypatch.chdir(tmp_path)
    write_song(tmp_path / "songs" / "a.mid", 30)
    return Config(data=DataConfig(midi_dir="songs"), run=RunConfig(workers=1))


@pytest.mark.slow
@needs_seed_songs
def test_classic_sees_the_published_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """57,177 tokens, 358 of them distinct; 57,077 windows; 446 steps an epoch."""
    corpus = prepare(os.environ["JAXMUSIC_SEED_SONGS"], tmp_path / "corpus")
    assert (len(corpus.tokens), len(corpus.vocabulary)) == (57_177, 358)
    classic = PRESETS["classic"]
    config = dataclasses.replace(
        classic,
        data=dataclasses.replace(classic.data, corpus=str(corpus.path)),
        model=dataclasses.replace(classic.model, hidden_size=4, dense_size=4, layers=1),
        train=dataclasses.replace(classic.train, max_steps=1),
        run=RunConfig(run_dir=str(tmp_path / "run"), compilation_cache=False),
    )
    fit(config)
    assert "57,077 windows of 100, 446 steps an epoch, 1 steps in all" in capsys.readouterr().out
    windows, held_out = make_windows(classic, corpus, Console())
    assert held_out is None
    last = BatchSampler(windows, 128, seed=0).batch(445)
    assert last.weights.sum() == 57_077 - 445 * 128


def test_held_out_songs_are_in_no_training_window(tmp_path: Path) -> None:
    """Split by song, before windows: even where windows run across songs."""
    for number in range(10):
        write_song(tmp_path / "in" / f"{number}.mid", 50, seed=number)
    corpus = prepare(tmp_path / "in", tmp_path / "corpus", workers=1)
    for across_songs in (True, False):
        config = Config(
            data=DataConfig(
                corpus=str(corpus.path), window=9, held_out=0.3, across_songs=across_songs
            ),
            model=ModelConfig(),
            train=TrainConfig(seed=4),
        )
        windows, held_out = make_windows(config, corpus, Console())
        assert held_out is not None
        seen = [
            {
                int(place) + step
                for place in each.offsets(np.arange(len(each)))
                for step in range(10)  # with the target
            }
            for each in (windows, held_out)
        ]
        assert not seen[0] & seen[1]
        assert len(seen[1]) == 3 * 50
        assert len(seen[0] | seen[1]) == len(corpus.tokens) == 500


def test_a_folder_is_prepared_once(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    first = open_corpus(config, Processes(), Console())
    stamp = (first.path / "tokens.npy").stat().st_mtime_ns
    assert "1 files: 1 used, 0 empty, 0 skipped" in capsys.readouterr().out
    again = open_corpus(config, Processes(), Console())
    assert again.path == first.path
    assert (again.path / "tokens.npy").stat().st_mtime_ns == stamp


def test_a_training_reads_no_damaged_corpus(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused where it is given as a corpus, made anew where its MIDI files are."""
    whole = open_corpus(config, Processes(), Console())
    (whole.path / "tokens.npy").write_bytes((whole.path / "tokens.npy").read_bytes()[:-1] + b"\1")
    given = dataclasses.replace(config, data=DataConfig(corpus=str(whole.path)))
    words = "tokens.npy is not what was written. Copy it again, whole, or prepare it again."
    with pytest.raises(CorpusError, match=words):
        open_corpus(given, Processes(), Console())
    capsys.readouterr()
    assert open_corpus(config, Processes(), Console()).digest == whole.digest
    assert "tokens.npy is not what was written: it is made anew" in capsys.readouterr().out
    assert open_corpus(given, Processes(), Console()).digest == whole.digest


def test_another_version_of_the_tokenizer_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_song(tmp_path / "songs" / "a.mid", 30)
    with monkeypatch.context() as patch:
        patch.setattr("jaxmusic.tokenizers.classic.ClassicTokenizer.version", 7)
        path = prepare(tmp_path / "songs", tmp_path / "corpus", workers=1).path
    open_corpus(Config(data=DataConfig(corpus=str(path))), Processes(), Console())
    assert "made by version 7 of the tokenizer and is used as it is" in capsys.readouterr().out


class Second(Processes):
    """The second of two processes; the first one has broadcast a digest."""

    def __init__(self, digest: str) -> None:
        super().__init__(1, 2)
        self.digest = digest

    def broadcast(self, make: Callable[[], Any]) -> Any:
        return self.digest


def test_every_process_checks_its_own_copy(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = open_corpus(config, Processes(), Console())
    tokens = (whole.path / "tokens.npy").read_bytes()
    (whole.path / "tokens.npy").write_bytes(tokens[:-1] + b"\1")
    assert open_corpus(config, Second(whole.digest), Console()).digest == whole.digest
    assert (whole.path / "tokens.npy").read_bytes() == tokens
    assert "it is made anew" in capsys.readouterr().out
