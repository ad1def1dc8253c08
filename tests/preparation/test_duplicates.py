"""The same song twice: reported, and on request left out."""

import shutil
from pathlib import Path

import pytest
from helpers.midi_files import write_song
from helpers.preparations import files_of

from jaxmusic.config import Config, ConfigError, DataConfig
from jaxmusic.console import Console
from jaxmusic.corpus import parsed_files
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.corpus.summary import describe, summarize
from jaxmusic.data.dataset import open_corpus
from jaxmusic.distributed.processes import Processes
from jaxmusic.preparation import parsing
from jaxmusic.preparation.journal import Journal
from jaxmusic.preparation.prepare import prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a, b, c, d: d is as a, e as c; x and y are bad and the same; f is as a, too."""
    folder = tmp_path / "in"
    for name in "abc":
        write_song(folder / f"{name}.mid", 20 + ord(name), seed=ord(name))
    for name, original in (("d", "a"), ("e", "c"), ("f", "a")):
        shutil.copy(folder / f"{original}.mid", folder / f"{name}.mid")
    for name in "xy":
        (folder / f"{name}.mid").write_bytes(b"bad")
    return folder


def test_they_are_reported_and_used(folder: Path, tmp_path: Path) -> None:
    corpus = prepare(folder, tmp_path / "out", workers=1)
    assert corpus.songs == [f"{name}.mid" for name in "abcdef"]
    lines = summarize(corpus)
    assert lines[0] == "8 files: 6 used, 0 empty, 2 skipped"
    assert (
        "3 files with the same bytes as another one, used all the same (not with --deduplicate): "
        "d.mid as a.mid, e.mid as c.mid, f.mid as a.mid"
    ) in lines


def test_on_request_all_but_the_first_are_left_out(folder: Path, tmp_path: Path) -> None:
    corpus = prepare(folder, tmp_path / "out", workers=1, deduplicate=True)
    assert corpus.songs == ["a.mid", "b.mid", "c.mid"]
    assert len(corpus.offsets) == 4
    assert [(row.path, row.tokens, row.reason) for row in corpus.ledger[3:6]] == [
        ("d.mid", 0, "the same as a.mid"),
        ("e.mid", 0, "the same as c.mid"),
        ("f.mid", 0, "the same as a.mid"),
    ]
    assert {row.status for row in corpus.ledger[3:6]} == {"duplicate"}
    text = "\n".join(summarize(corpus))
    assert "8 files: 3 used, 0 empty, 2 skipped, 3 left out" in text
    assert "another one, left out: d.mid as a.mid, e.mid as c.mid, f.mid as a.mid" in text
    shown = [" ".join(line.split()) for line in describe(corpus)]
    assert any("it is the same as another file 3 37.5%" in line for line in shown)
    for name in "def":
        (folder / f"{name}.mid").unlink()
    assert corpus.digest == prepare(folder, tmp_path / "new", workers=1).digest


def test_many_are_reported_by_their_number(folder: Path, tmp_path: Path) -> None:
    for number in range(5):
        shutil.copy(folder / "a.mid", folder / f"z{number}.mid")
    assert any(
        line.startswith("8 files with the same bytes") and line.endswith("f.mid as a.mid, ...")
        for line in summarize(prepare(folder, tmp_path / "out", workers=1))
    )


def refuse(data: bytes, scheme: str) -> None:
    raise AssertionError("parsed again")


def test_either_way_becomes_the_other_without_parsing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files_of(prepare(folder, tmp_path / "whole", workers=1))
    fewer = files_of(prepare(folder, tmp_path / "fewer", workers=1, deduplicate=True))
    assert whole["tokens.npy"] != fewer["tokens.npy"]
    monkeypatch.setattr(parsing, "parse_counted", refuse)
    for deduplicate, expected in ((True, fewer), (True, fewer), (False, whole), (True, fewer)):
        corpus = prepare(folder, tmp_path / "whole", workers=1, deduplicate=deduplicate)
        assert files_of(corpus) == expected


@pytest.mark.parametrize("deduplicate", [True, False])
def test_a_corpus_stays_right_when_files_come_and_go(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deduplicate: bool
) -> None:
    """It was deduplicated all along; each time it is as one that is made anew."""
    out = tmp_path / "out"
    prepare(folder, out, workers=1, deduplicate=True)

    def check(parsed: int, songs: str) -> None:
        count = 0
        parse = Journal.append

        def count_rows(self: Journal, rows: list[object], ids: object) -> None:
            nonlocal count
            count += len(rows)
            parse(self, rows, ids)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(Journal, "append", count_rows)
            corpus = prepare(folder, out, workers=1, deduplicate=deduplicate)
        assert count == parsed
        again = prepare(folder, tmp_path / "new", workers=1, deduplicate=deduplicate)
        assert files_of(corpus) == files_of(again)
        if deduplicate:
            assert corpus.songs == [f"{name}.mid" for name in songs]
        shutil.rmtree(tmp_path / "new")

    check(0, "abc")
    (folder / "a.mid").unlink()  # the second is now the first
    check(0, "bcd")
    shutil.copy(folder / "b.mid", folder / "A.mid")  # before the one that was the first
    check(1, "Acd")
    write_song(folder / "e.mid", 33, seed=5)  # no longer the same as c
    check(1, "Acde")
    (folder / "d.mid").touch()
    check(1, "Acde")
    (folder / "f.mid").touch()  # one that is left out
    check(1, "Acde")


def test_digests_that_only_begin_the_same_are_not_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsed_files, "_PREFIX_DIGITS", 0)  # in memory all are the same
    corpus = prepare(folder, tmp_path / "out", workers=1, deduplicate=True)
    assert corpus.songs == ["a.mid", "b.mid", "c.mid"]
    corpus = prepare(folder, tmp_path / "out", workers=1)
    assert len(corpus.songs) == 6


def test_training_takes_a_corpus_as_it_was_asked_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def opened(**data: object) -> Corpus:
        config = Config(data=DataConfig(**data))  # type: ignore[arg-type]
        return open_corpus(config, Processes(), Console(silent=True))

    for deduplicate, songs in ((False, 6), (True, 3), (False, 6)):
        assert len(opened(midi_dir="in", deduplicate=deduplicate).songs) == songs
    for deduplicate in (False, True):
        prepare(folder, tmp_path / str(deduplicate), workers=1, deduplicate=deduplicate)
    assert len(opened(corpus="True", deduplicate=True).songs) == 3
    assert len(opened(corpus="True").songs) == 3
    with pytest.raises(ConfigError, match="--deduplicate .*corpus False was prepared without"):
        opened(corpus="False", deduplicate=True)
