"""What preparing may replace, and what it leaves as it is."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.midi_files import write_song
from helpers.preparations import files_of, tree_of

from jaxmusic.corpus.corpus import FILES, Corpus, CorpusError
from jaxmusic.preparation.corpus_folder import CORPUS_FOLDER, corpus_mark, replace_folder
from jaxmusic.preparation.prepare import prepare
from jaxmusic.preparation.sources.notebook_notes import prepare_notes
from jaxmusic.storage.owned_folder import why_foreign

RUN_ABOUT = {"path": "/songs-corpus", "digest": "0" * 32, "tokens": 1, "songs": 1, "run": "r"}


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    write_song(tmp_path / "songs" / "a.mid", 30)
    (tmp_path / "notes").write_bytes(pickle.dumps(["C4", "E4"] * 20))
    return tmp_path / "songs"


def refused(songs: Path, target: Path) -> str:
    """What preparing says, of MIDI files and of notes; nothing at all may have changed."""
    before = tree_of(songs.parent)
    with pytest.raises(CorpusError) as caught:
        prepare(songs, target, workers=1)
    with pytest.raises(CorpusError, match=re.escape(str(caught.value))):
        prepare_notes(songs.parent / "notes", target)
    assert tree_of(songs.parent) == before
    return str(caught.value)


def fill(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


THESIS = {"thesis.txt": "work of years"}
RUN = {
    "config.json": "{}", "corpus.json": json.dumps(RUN_ABOUT), "vocabulary.json": "{}",
    "checkpoints/1/seal.json": "{}",
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (THESIS, "out can't be replaced by a corpus: it holds thesis.txt. Move that away, or"),
        (THESIS | {"corpus.json": "{"}, "it holds thesis.txt. Move"),
        (THESIS | {"corpus.json": '{"format": 1, "tokeniser": 1}'}, "it holds thesis.txt. Move"),
        (THESIS | {"tokens.npy": "", "vocabulary.json": "[]"}, "it holds thesis.txt. Move"),
        ({"deep/down/thesis.txt": "years"}, "it holds deep/. Move"),
        (RUN, "out holds a run, which a corpus would replace: give another --corpus."),
        ({"corpus.json": json.dumps(RUN_ABOUT)}, "out holds a run"),  # copied half
        ({"corpus.json": "of birds"}, "it holds corpus.json, but nothing in it proves that it is"),
        ({"corpus.json": '{"birds": 7}', "vocabulary.json": "[]"}, "corpus.json, vocabulary.json"),
        ({"tokens.npy": "of GPT"}, "it holds tokens.npy, but nothing"),
        ({"ledger.jsonl": '{"paid": 7}\n'}, "it holds ledger.jsonl, but nothing"),
        ({"corpus.json/a": "a"}, "it holds corpus.json/. Move"),
    ],
)
def test_a_folder_of_other_things_is_left_as_it_is(
    songs: Path, tmp_path: Path, files: Mapping[str, str | bytes], said: str
) -> None:
    fill(tmp_path / "out", files)
    assert said in refused(songs, tmp_path / "out")


@pytest.mark.parametrize("name", ["README.txt", ".DS_Store", "old/tokens.npy", "tokens.npy.bak"])
def test_a_file_beside_a_corpuss_own_is_named(songs: Path, tmp_path: Path, name: str) -> None:
    """Whether there is anything to update or not."""
    prepare(songs, tmp_path / "out", workers=1)
    fill(tmp_path / "out", {name: "precious"})
    shown = "old/" if "/" in name else name
    assert f"it holds {shown}. Move" in refused(songs, tmp_path / "out")
    write_song(songs / "b.mid", 30)
    assert f"it holds {shown}. Move" in refused(songs, tmp_path / "out")
    assert Corpus.open_checked(tmp_path / "out").songs == ["a.mid"]


def test_a_file_that_came_while_it_was_prepared_is_named_too(songs: Path, tmp_path: Path) -> None:
    prepare(songs, tmp_path / "out", workers=1)
    write_song(songs / "b.mid", 30)

    def add(done: int, total: int) -> None:
        (tmp_path / "out" / "mine.txt").write_text("precious")

    with pytest.raises(CorpusError, match=r"it holds mine\.txt\. Move"):
        prepare(songs, tmp_path / "out", workers=1, progress=add)
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"
    (tmp_path / "out" / "mine.txt").unlink()
    logged: list[str] = []
    prepare(songs, tmp_path / "out", workers=1, log=logged.append)
    assert logged == ["Going on: 1 files were read before a stop."]  # nothing is read again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "out", "songs"]


def test_a_link_in_a_corpus_is_not_ours(songs: Path, tmp_path: Path) -> None:
    out = prepare(songs, tmp_path / "out", workers=1).path
    (out / "tokens.npy").rename(tmp_path / "tokens.npy")
    (out / "tokens.npy").symlink_to(tmp_path / "tokens.npy")
    assert "it holds tokens.npy. Move" in refused(songs, out)


@pytest.mark.parametrize("name", [*FILES, "corpus.json and vocabulary.json", "all but corpus.json"])
@pytest.mark.parametrize("content", [b"damaged", b"", None])
def test_a_damaged_corpus_is_ours_as_long_as_one_file_proves_it(
    songs: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    out = prepare(songs, tmp_path / "out", workers=1).path
    whole = files_of(Corpus.open(out))
    names = [each for each in FILES if (each in name) != name.startswith("all but")]
    assert names
    for each in names:
        (out / each).unlink()
        if content is not None:
            (out / each).write_bytes(content)
    logged: list[str] = []
    assert files_of(prepare(songs, out, workers=1, log=logged.append)) == whole
    assert len(logged) == 1 and logged[0].endswith("made anew.")


def test_a_corpus_without_a_proof_is_kept(songs: Path, tmp_path: Path) -> None:
    out = prepare(songs, tmp_path / "out", workers=1).path
    for name in ("corpus.json", "ledger.jsonl"):
        (out / name).write_bytes(b"damaged")
    assert "but nothing in it proves that it is a corpus. Move" in refused(songs, out)


def test_an_empty_folder_becomes_a_corpus(songs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert prepare(songs, tmp_path / "out", workers=1).songs == ["a.mid"]


@pytest.mark.parametrize(
    "files",
    [
        THESIS,
        THESIS | {"journal.jsonl": '{"journal": 2, "scheme": "classic"}\n'},
        {"journal.jsonl": "Dear diary\n"},
        {"corpus/thesis.txt": "years"},
        {"corpus/tokens.npy/thesis.txt": "years"},
    ],
)
def test_a_folder_called_as_a_work_folder_is_left_as_it_is(
    songs: Path, tmp_path: Path, files: Mapping[str, str | bytes]
) -> None:
    fill(tmp_path / ".out.partial-0123abcd", files)
    before = tree_of(tmp_path, but="out")
    prepare(songs, tmp_path / "out", workers=1)
    assert tree_of(tmp_path, but="out") == before


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_called_as_one_that_was_replaced_is_left_as_it_is(
    songs: Path, tmp_path: Path, there: bool
) -> None:
    """It is neither removed, nor taken for the corpus."""
    for name in (".out.replaced", ".out.replaced-0123abcd"):
        fill(tmp_path / name, THESIS | {"corpus.json": '{"format": 1, "tokeniser": 1}'})
    if there:
        prepare(songs, tmp_path / "out", workers=1)
        write_song(songs / "b.mid", 30)
    before = tree_of(tmp_path, but="out")
    prepare(songs, tmp_path / "out", workers=1)
    assert tree_of(tmp_path, but="out") == before


def test_a_link_to_a_corpus_stays_and_what_it_leads_to_is_updated(
    songs: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk/corpus")  # leads nowhere yet
    assert prepare(songs, tmp_path / "out", workers=1).songs == ["a.mid"]
    write_song(songs / "b.mid", 30)
    prepare(songs, tmp_path / "out", workers=1)
    assert os.readlink(tmp_path / "out") == "disk/corpus"
    assert Corpus.open_checked(tmp_path / "disk" / "corpus").songs == ["a.mid", "b.mid"]
    assert os.listdir(tmp_path / "disk") == ["corpus"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    shutil.rmtree(tmp_path / "disk")
    (tmp_path / "disk").mkdir()
    prepare_notes(tmp_path / "notes", tmp_path / "out")
    assert os.readlink(tmp_path / "out") == "disk/corpus"
    fill(tmp_path / "disk" / "corpus", THESIS)
    assert "it holds thesis.txt. Move" in refused(songs, tmp_path / "out")


def test_the_folder_that_one_is_in_can_be_the_corpus(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    prepare("../songs", ".", workers=1)
    assert Corpus.open(tmp_path / "out").songs == ["a.mid"]
    monkeypatch.chdir(songs)
    assert "songs can't be replaced by a corpus: it holds a.mid. Move" in refused(songs, Path())
    assert "it holds" in refused(songs, Path("/"))


def test_a_replacement_that_fails_leaves_the_old_one(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = prepare(songs, tmp_path / "out", workers=1).path
    whole = files_of(Corpus.open(out))
    with pytest.raises(Exception, match="out can't be written: No such file"):
        replace_folder(tmp_path / "nowhere", out, made_of="midi", mark=corpus_mark(out))
    assert files_of(Corpus.open(out)) == whole and why_foreign(out, CORPUS_FOLDER) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "out", "songs"]


@pytest.mark.raises_at(
    "jaxmusic/preparation/corpus_folder.py:replace_folder", "was changed by another process"
)
def test_a_corpus_that_another_process_put_there_meanwhile_stays(
    songs: Path, tmp_path: Path
) -> None:
    """It was none when it was looked at, or another one."""
    new = prepare(songs, tmp_path / "new", workers=1).path
    marks = [corpus_mark(tmp_path / "out")]
    out = prepare(songs, tmp_path / "out", workers=1).path
    marks.append(corpus_mark(out))
    write_song(songs / "b.mid", 30)
    whole = files_of(prepare(songs, out, workers=1))
    for mark in marks:
        with pytest.raises(CorpusError, match="out was changed by another process while this one"):
            replace_folder(new, out, made_of="midi", mark=mark)
    assert files_of(Corpus.open(out)) == whole and Corpus.open(new).songs == ["a.mid"]
