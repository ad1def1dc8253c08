"""The notebooks' file of tokens as a corpus."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.midi_files import SCALE, write_song

from jaxmusic.config import Config, DataConfig, ModelConfig, RunConfig, TrainConfig
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus, CorpusError, find_damage
from jaxmusic.corpus.summary import describe
from jaxmusic.data.dataset import make_windows
from jaxmusic.errors import UserError
from jaxmusic.preparation.prepare import prepare
from jaxmusic.preparation.sources import notebook_notes as notes
from jaxmusic.preparation.sources.notebook_notes import NotesError, prepare_notes
from jaxmusic.run import open_run
from jaxmusic.trainer import fit

TOKENS = ["E5", "B-4", "C#6", "4.9", "0", "E-3", "E5", "9.11.2.4", "4.9", "G3"] * 12


def write_notes(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 3, 5])
def test_the_tokens_arrive_exactly(tmp_path: Path, protocol: int) -> None:
    file = write_notes(tmp_path / "notes", TOKENS, protocol)
    corpus = prepare_notes(file, tmp_path / "corpus")
    assert corpus.vocabulary.decode(corpus.tokens) == TOKENS
    assert corpus.offsets.tolist() == [0, 120]
    (row,) = corpus.ledger
    assert (row.path, row.size, row.tokens) == ("notes", file.stat().st_size, 120)
    assert find_damage(corpus.path) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "notes"]
    assert any("notes" in line for line in describe(corpus))


def test_it_is_the_corpus_of_a_song_of_these_tokens(tmp_path: Path) -> None:
    """The same ids and vocabulary, as one that was parsed: runs on the one go on with the other."""
    tokens = write_song(tmp_path / "in" / "a.mid", 90)
    parsed = prepare(tmp_path / "in", tmp_path / "parsed", workers=1)
    pickled = prepare_notes(write_notes(tmp_path / "notes", tokens), tmp_path / "pickled")
    assert pickled.digest == parsed.digest


def test_a_corpus_is_kept_replaced_or_mended(tmp_path: Path) -> None:
    file = write_notes(tmp_path / "notes", TOKENS)
    first = prepare_notes(file, tmp_path / "corpus")
    stamp = (first.path / "tokens.npy").stat().st_mtime_ns
    again = prepare_notes(file, tmp_path / "corpus")
    assert (again.path / "tokens.npy").stat().st_mtime_ns == stamp
    (first.path / "tokens.npy").write_bytes(b"damaged")
    assert prepare_notes(file, tmp_path / "corpus").digest == first.digest
    assert find_damage(first.path) == ""
    other = prepare_notes(write_notes(tmp_path / "notes", TOKENS[1:]), tmp_path / "corpus")
    assert len(other.tokens) == 119


def test_a_corpus_of_midi_files_and_one_of_notes_dont_replace_each_other(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 90)
    file = write_notes(tmp_path / "notes", TOKENS)
    midi = prepare(tmp_path / "in", tmp_path / "midi", workers=1).digest
    with pytest.raises(CorpusError, match="midi holds a corpus of MIDI files, .* another --corpus"):
        prepare_notes(file, tmp_path / "midi")
    assert Corpus.open_checked(tmp_path / "midi").digest == midi
    of_notes = prepare_notes(file, tmp_path / "corpus").digest
    with pytest.raises(CorpusError, match=r"corpus holds a corpus of notes .* another --corpus"):
        prepare(tmp_path / "in", tmp_path / "corpus", workers=1)
    assert Corpus.open_checked(tmp_path / "corpus").digest == of_notes
    with pytest.raises(CorpusError, match=r"in can't be replaced by a corpus: it holds a\.mid"):
        prepare_notes(file, tmp_path / "in")


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("hostile",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (["E5", "H5", "x"], "holds 'H5' as token 1: neither the name of a pitch"),
        (["0.4.7", "4.7.0"], "holds '4.7.0' as token 1: neither"),
        (["E5", "x" * 10_000], "holds 'x{39} as token 1"),
        (["\ud800"], "holds '.ud800' as token 0"),
        (["<rare>"], "holds '<rare>' as token 0"),
        ([], "holds an empty list"),
        ("E5", "it is not a list of strings"),
        (["E5", 5], "it holds the opcode BININT1"),
        ([["E5"]], "a list in a list"),
        (Hostile(), "it holds the opcode STACK_GLOBAL, and could run code"),
    ],
)
def test_any_other_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_notes(tmp_path / "notes", content)
    with pytest.raises(NotesError, match=f"--notes {re.escape(str(file))} .*{reason}") as caught:
        prepare_notes(file, tmp_path / "corpus")
    assert len(str(caught.value)) < 300
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]  # no corpus, nothing else


def test_files_too_large_or_not_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotesError, match="(there is no such file|is a folder). Give the file"):
            prepare_notes(path, tmp_path / "corpus")
    monkeypatch.setattr(notes, "LARGEST", 1 << 20)
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(NotesError, match="more than the limit of 1,048,576"):
        prepare_notes(tmp_path / "large", tmp_path / "corpus")


@pytest.mark.slow
def test_it_trains(tmp_path: Path) -> None:
    tokens = [SCALE[place] for place in np.random.default_rng(0).integers(0, len(SCALE), 100)]
    corpus = prepare_notes(write_notes(tmp_path / "notes", tokens), tmp_path / "corpus")
    config = Config(
        data=DataConfig(corpus=str(corpus.path), window=20),
        model=ModelConfig(hidden_size=4, layers=1, dense_size=4),
        train=TrainConfig(max_steps=1, batch_size=16),
        run=RunConfig(run_dir=str(tmp_path / "run"), compilation_cache=False),
    )
    fit(config, console=Console(silent=True))
    assert open_run(tmp_path / "run").vocabulary == corpus.vocabulary
    windows, _ = make_windows(config, corpus, Console())
    assert len(windows) == 80
    held_out = Config(data=DataConfig(window=20, held_out=0.1))
    with pytest.raises(UserError, match="--held-out 0.1 keeps 1 of 1 songs out"):
        make_windows(held_out, corpus, Console())
