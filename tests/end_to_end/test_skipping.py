"""When too many files can't be read."""

from pathlib import Path

import pytest
from helpers.midi_files import write_song

from jaxmusic.config import Config, DataConfig, RunConfig
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus, CorpusError
from jaxmusic.data.dataset import open_corpus
from jaxmusic.distributed.processes import Processes
from jaxmusic.preparation import parsing
from jaxmusic.preparation.prepare import prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten files: four songs, six that can't be read."""
    for number in range(4):
        write_song(tmp_path / "in" / f"{number}.mid", 30, seed=number)
    for number in range(5):
        (tmp_path / "in" / f"bad{number}.mid").write_bytes(b"bad")
    data = (tmp_path / "in" / "0.mid").read_bytes()
    (tmp_path / "in" / "cut.mid").write_bytes(data[:70])
    return tmp_path / "in"


def test_preparing_fails_and_keeps_what_was_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CorpusError) as failed:
        prepare(folder, tmp_path / "out", workers=1)
    text = str(failed.value)
    reason = "it is not a MIDI file (no MThd at the start)"
    assert text.startswith(f"6 of the 10 MIDI files in {folder} were skipped, more than --max-")
    assert f"--max-skipped-share 0.5 allows; most often (5): {reason}; the first ones: " in text
    assert "".join(f"bad{n}.mid: {reason}; " for n in range(3))[:-2] + ". Fix them" in text
    assert "bad3" not in text and "larger --max-skipped-share" in text
    assert not (tmp_path / "out").exists()

    monkeypatch.setattr(parsing, "parse_counted", None)  # would be called
    with pytest.raises(CorpusError, match="6 of the 10 .* 0.59 allows"):
        prepare(folder, tmp_path / "out", workers=1, max_skipped_share=0.59)
    corpus = prepare(folder, tmp_path / "out", workers=1, max_skipped_share=0.6)
    assert len(corpus.songs) == 4 and len(corpus.ledger) == 10


def test_a_corpus_stays_when_the_share_is_passed_later(folder: Path, tmp_path: Path) -> None:
    (folder / "bad0.mid").unlink()
    before = prepare(folder, tmp_path / "out", workers=1, max_skipped_share=0.6)
    (folder / "bad9.mid").write_bytes(b"bad")
    with pytest.raises(CorpusError, match="6 of the 10"):
        prepare(folder, tmp_path / "out", workers=1, max_skipped_share=0.59)
    assert Corpus.open(tmp_path / "out").digest == before.digest
    assert len(Corpus.open(tmp_path / "out").ledger) == 9


def test_empty_songs_and_duplicates_are_not_skipped(folder: Path, tmp_path: Path) -> None:
    for number in range(4, 8):
        (folder / f"{number}.mid").write_bytes((folder / "0.mid").read_bytes())
    corpus = prepare(folder, tmp_path / "out", workers=1, deduplicate=True, max_skipped_share=0.43)
    assert len(corpus.songs) == 4


def test_skipping_all_steps_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.mid").write_bytes(b"bad")
    with pytest.raises(CorpusError, match="None of the 1 MIDI files"):
        prepare(tmp_path / "in", tmp_path / "out", max_skipped_share=1)


def test_training_has_the_share_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = DataConfig(midi_dir="in")
    with pytest.raises(CorpusError, match="max-skipped-share 0.5"):
        open_corpus(Config(data=data), Processes(), Console(silent=True))
    config = Config(data=data, run=RunConfig(max_skipped_share=0.6))
    assert len(open_corpus(config, Processes(), Console(silent=True)).songs) == 4
