"""The parsed files that a corpus records, for preparing the next one."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.midi_files import write_song

from jaxmusic.corpus import parsed_files
from jaxmusic.corpus.corpus import Corpus, CorpusError
from jaxmusic.corpus.parsed_files import ChangedFileError, ParsedFiles
from jaxmusic.preparation.prepare import prepare


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    for number in range(3):
        write_song(tmp_path / "in" / f"{number}.mid", 20 + number, seed=number)
    (tmp_path / "in" / "1.mid").write_bytes(b"bad")
    return prepare(tmp_path / "in", tmp_path / "out", workers=1)


def test_a_corpus_is_records_too(corpus: Corpus) -> None:
    files = ParsedFiles.of_corpus(corpus)
    assert [files.row(number) for number in range(3)] == corpus.ledger
    assert list(files.counts) == [20, 0, 22]
    assert files.read_song(2).tolist() == corpus.tokens[20:].tolist()
    files.close()
    ledger = corpus.path / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"tokens": 22', b'"tokens": 23'))
    with pytest.raises(CorpusError, match="ledger.jsonl counts 43 tokens, but tokens.npy has 42"):
        ParsedFiles.of_corpus(corpus)


@pytest.mark.parametrize("chunk", [1, 21, 1000])
@pytest.mark.raises_at("jaxmusic/corpus/parsed_files.py:read_songs")
def test_songs_are_read_together_and_checked(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(parsed_files, "_READ_CHUNK", chunk)
    files = ParsedFiles.of_corpus(corpus)
    crcs = list(files.crcs())
    found = files.read_songs(0, [20, 0, 22], crcs)
    assert np.array_equal(found, corpus.tokens)
    with pytest.raises(ChangedFileError, match=r"tokens\.npy was changed, or removed, while a cor"):
        files.read_songs(0, [20, 0, 22], [*crcs[:2], crcs[2] ^ 1])
    files.close()


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "tokens.npy",
            marks=pytest.mark.raises_at("jaxmusic/corpus/parsed_files.py:_read_ids"),
        ),
        pytest.param(
            "ledger.jsonl",
            marks=pytest.mark.raises_at("jaxmusic/corpus/parsed_files.py:_line"),
        ),
    ],
)
def test_a_corpus_that_is_changed_while_it_is_used_is_an_error(
    corpus: Corpus, name: str, asked: bool
) -> None:
    """Before and after the checksums were taken; in its tokens, in its rows, or cut off."""
    path = corpus.path / name
    whole = path.read_bytes()
    for changed in (whole[:-10] + bytes([whole[-10] ^ 1]) + whole[-9:], whole[:-10]):
        path.write_bytes(whole)
        files = ParsedFiles.of_corpus(corpus)
        if asked:
            files.crcs()
        with path.open("r+b") as file:  # in place
            file.write(changed)
            file.truncate()
        with pytest.raises(ChangedFileError, match=rf"{name} was changed, or removed, while"):
            for number in range(3):
                files.row(number)
                files.read_song(number)
        files.close()


@pytest.mark.raises_at("jaxmusic/corpus/parsed_files.py:crcs")
def test_another_corpus_in_its_place_is_not_taken_for_it(corpus: Corpus, tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "2.mid", 22, seed=9)
    other = prepare(tmp_path / "in", tmp_path / "other", workers=1)
    os.replace(other.path / "tokens.npy", corpus.path / "tokens.npy")
    files = ParsedFiles.of_corpus(corpus)
    with pytest.raises(ChangedFileError, match="its digest doesn't match"):
        files.read_song(2)
    files.close()
