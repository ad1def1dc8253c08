"""The songs of a run: which are trained on and held out, from which corpus."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.midi_files import write_song
from helpers.small_runs import changed, small_config, small_corpus

from jaxmusic.config import Config, DataConfig
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.data.windows import held_out_songs
from jaxmusic.evaluation import songs
from jaxmusic.evaluation.songs import (
    Song,
    has_times,
    in_training_keys,
    known_ids,
    load_songs,
    token_kinds,
)
from jaxmusic.run import Run
from jaxmusic.tokenizers.vocabulary import RARE, Vocabulary
from jaxmusic.trainer import fit

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("songs")
    config = small_config(small_corpus(folder / "midi"), folder / "run")
    config = changed(config, "train", max_steps=1)
    return fit(changed(config, "data", held_out=0.3))


def load(
    run: Run, *, most: int = 1000, log: list[str] | None = None, **folders: str | None
) -> tuple[list[Song], list[Song]]:
    lines: list[str] = [] if log is None else log
    named = {"corpus": None, "midi_dir": None, "held_out_dir": None, **folders}
    found = load_songs(run, most=most, log=lines.append, **named)
    return found.training, found.held_out


@slow
def test_the_split_is_that_of_training(run: Run) -> None:
    log: list[str] = []
    training, held_out = load(run, log=log)
    assert run.config.data.corpus is not None
    corpus = Corpus.open(run.config.data.corpus)
    held = held_out_songs(corpus.songs, run.config.data, seed=0)
    assert [song.name for song in held_out] == list(np.array(corpus.songs)[held])
    assert [song.name for song in training] == list(np.array(corpus.songs)[~held])
    assert log == []
    ids = np.concatenate([corpus.vocabulary.encode(song.tokens) for song in training])
    starts = corpus.offsets[:-1][~held]
    assert (ids[:60] == corpus.tokens[starts[0] : starts[0] + 60]).all()


@slow
def test_a_corpus_that_moved_is_named_by_a_flag(run: Run, tmp_path: Path) -> None:
    assert run.config.data.corpus is not None
    moved = shutil.copytree(run.config.data.corpus, tmp_path / "moved")
    log: list[str] = []
    assert load(run, corpus=str(moved), log=log) == load(run)
    assert log == []


@slow
def test_other_songs_than_the_runs_are_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the corpus of a folder of MIDI is kept
    for number in range(5):
        write_song(tmp_path / "others" / f"{number}.mid", 40, seed=10 + number)
    log: list[str] = []
    training, held_out = load(run, midi_dir="others", log=log)
    assert len(training) + len(held_out) == 5
    assert "is not the one that the run was trained on" in log[0]


@slow
def test_songs_never_seen_take_the_place_of_those_held_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    song = write_song(tmp_path / "unseen" / "a.mid", 40, seed=10)
    training, held_out = load(run, held_out_dir="unseen")
    assert [each.tokens for each in held_out] == [song]
    assert training == load(run)[0]


@slow
def test_of_many_songs_some_are_used(run: Run) -> None:
    log: list[str] = []
    training, held_out = load(run, most=1, log=log)
    assert (len(training), len(held_out)) == (1, 1)
    assert log == ["Of 3 training songs 1 are used (--songs)."]


def test_unknown_tokens_are_rare_or_left_out() -> None:
    song = Song("a", ["C4", "D4", "E4"], "classic")
    assert known_ids(song, Vocabulary.of(["C4", "E4"])).tolist() == [0, 1]
    rare = Vocabulary.of(["C4", "E4", RARE])
    assert rare.decode(known_ids(song, rare)) == ["C4", RARE, "E4"]


def test_songs_are_moved_to_the_keys_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(data=DataConfig(transpose="-2..2"))
    vocabulary = Vocabulary.of(["B3", "C4", "D4", "E4", RARE])
    run = Run(Path("run"), config, vocabulary, 0, {}, {}, np.zeros((1, 1)))
    high = vocabulary.encode(["E4", RARE, "D4"]).astype(np.int64)
    found = in_training_keys([high, high[:0]], run)
    moved = [vocabulary.decode(song) for song in found if len(song)]
    # In no other key are both in the vocabulary.
    assert moved == [["E4", RARE, "D4"], ["D4", RARE, "C4"]]
    monkeypatch.setattr(songs, "MOST_TOKENS", 5)
    assert len(in_training_keys([high], run)) == 1
    still = Run(Path("run"), Config(), vocabulary, 0, {}, {}, np.zeros((1, 1)))
    assert len(in_training_keys([high], still)) == 1


def test_a_scheme_with_tokens_of_time_has_a_rhythm() -> None:
    assert token_kinds(Vocabulary.of(["0.4.7", "C4", RARE])) == ["chord", "rare", "note"]
    assert not has_times(Vocabulary.of(["0.4.7", "C4"]))
    assert has_times(Vocabulary.of(["p60", "step"], "piano-roll"))
    song = Song("a", ["step", "p64", "p60", "step", "p60", "step"], "piano-roll")
    assert song.notes.pitches.tolist() == [64, 60]
    assert song.notes.lengths.tolist() == [0.5, 1]
