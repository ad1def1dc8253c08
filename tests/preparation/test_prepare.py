"""From a folder of MIDI files to a corpus."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.midi_files import write_song
from helpers.preparations import Parsed, files_of

from jaxmusic.config import Config, DataConfig, RunConfig
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus, CorpusError
from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.corpus.metadata import OWN_DIGEST
from jaxmusic.corpus.summary import summarize
from jaxmusic.data.dataset import make_windows, open_corpus
from jaxmusic.distributed.processes import Processes
from jaxmusic.preparation import parsing
from jaxmusic.preparation import worker_pool as workers
from jaxmusic.preparation.prepare import default_corpus_dir, prepare
from jaxmusic.storage.reading import file_digest, with_digest
from jaxmusic.tokenizers.classic import ClassicTokenizer
from jaxmusic.tokenizers.tokenizer import parse_counted


def tokens_of(corpus: Corpus, song: int) -> list[str]:
    start, stop = corpus.offsets[song : song + 2]
    return corpus.vocabulary.decode(corpus.tokens[start:stop])


def test_a_folder_becomes_a_corpus(tmp_path: Path) -> None:
    songs = {
        "b.mid": write_song(tmp_path / "in" / "b.mid", 50, seed=1),
        "A/x.MIDI": write_song(tmp_path / "in" / "A" / "x.MIDI", 60, seed=2),
        "c.Kar": write_song(tmp_path / "in" / "c.Kar", 70, seed=3),
    }
    (tmp_path / "in" / "notes.txt").write_text("not music")
    (tmp_path / "in" / "bad.mid").write_bytes(b"not music")
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1)

    assert corpus.songs == ["A/x.MIDI", "b.mid", "c.Kar"]
    for number, name in enumerate(corpus.songs):
        assert tokens_of(corpus, number) == songs[name]
    distinct = sorted({token for tokens in songs.values() for token in tokens})
    assert list(corpus.vocabulary.tokens) == distinct
    assert isinstance(corpus.tokens, np.memmap) and corpus.tokens.dtype == np.uint16
    assert [(row.path, row.status, row.tokens) for row in corpus.ledger] == [
        ("A/x.MIDI", "used", 60),
        ("b.mid", "used", 50),
        ("bad.mid", "skipped", 0),
        ("c.Kar", "used", 70),
    ]
    assert corpus.ledger[2].reason
    text = "\n".join(summarize(corpus))
    assert "4 files: 3 used, 0 empty, 1 skipped" in text
    assert "bad.mid" in text and corpus.ledger[2].reason in text
    assert f"180 tokens, {len(distinct)} distinct" in text


def test_processes_give_the_same_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        write_song(tmp_path / "in" / f"{number}.mid", 20 + number, seed=number)
    monkeypatch.setattr(workers, "SIZE_FOR_A_WORKER", 1)
    monkeypatch.setattr(workers, "OWN_FILE_SIZE", 0)  # the workers do it all
    monkeypatch.setattr(workers.JobQueue, "FILES", 3)
    done: list[tuple[int, int]] = []
    many = prepare(
        tmp_path / "in",
        tmp_path / "many",
        workers=3,
        progress=lambda *progress: done.append(progress),
    )
    monkeypatch.undo()
    one = prepare(tmp_path / "in", tmp_path / "one", workers=1)
    for name in ("tokens.npy", "songs.npy", "vocabulary.json", "ledger.jsonl", "corpus.json"):
        assert (many.path / name).read_bytes() == (one.path / name).read_bytes()
    assert done == sorted(done) and (done[0], done[-1]) == ((0, 20), (20, 20))


def test_unchanged_files_are_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(5):
        write_song(folder / f"{number}.mid", 30, seed=number)
    (folder / "bad.mid").write_bytes(b"bad")
    prepare(folder, out, workers=1)
    parsed: list[bytes] = []

    def parse(data: bytes, scheme: str) -> tuple[list[str], dict[str, int]]:
        parsed.append(data)
        return parse_counted(data, scheme)

    monkeypatch.setattr(parsing, "parse_counted", parse)
    write_song(folder / "2.mid", 40, seed=50)  # changed
    write_song(folder / "new.mid", 25, seed=51)
    (folder / "0.mid").unlink()
    corpus = prepare(folder, out, workers=1)
    assert parsed == [(folder / name).read_bytes() for name in ("2.mid", "new.mid")]

    fresh = prepare(folder, tmp_path / "fresh", workers=1)
    assert corpus.digest == fresh.digest
    assert corpus.ledger == fresh.ledger


def test_preparing_again_changes_nothing(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    before = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    stamp = (tmp_path / "out" / "tokens.npy").stat().st_mtime_ns
    after = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert before.digest == after.digest
    assert (tmp_path / "out" / "tokens.npy").stat().st_mtime_ns == stamp
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]  # nothing left over


def test_a_time_stamp_beyond_64_bits_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files said to be changed in 1500, in the first second of 1970, in 2300 and in 2400."""
    seconds = dict(zip("abcd", (-15_000_000_000, 0, 10_413_792_000, 13_569_465_600), strict=True))
    for name in "abcd":
        write_song(tmp_path / "in" / f"{name}.mid", 30, seed=ord(name))
    for name, second in seconds.items():
        os.utime(tmp_path / "in" / f"{name}.mid", (second, second))  # as far as the disk has it
    before = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert before.songs == ["a.mid", "b.mid", "c.mid", "d.mid"]
    parsed = Parsed(monkeypatch)
    after = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert after.ledger == before.ledger and parsed.count == 0


def test_another_version_of_the_tokenizer_parses_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    monkeypatch.setattr(ClassicTokenizer, "version", ClassicTokenizer.version + 1)
    monkeypatch.setattr(parsing, "parse_counted", lambda data, scheme: (["C4", "D4"], {}))
    assert len(prepare(tmp_path / "in", tmp_path / "out", workers=1).tokens) == 2


def test_wide_vocabularies_are_stored_wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"t{number}" for number in range(65_600)]
    write_song(tmp_path / "in" / "a.mid", 3)
    monkeypatch.setattr(parsing, "parse_counted", lambda data, scheme: (words, {}))
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert corpus.tokens.dtype == np.uint32
    assert tokens_of(corpus, 0) == words


def test_folders_without_music_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="There is no folder .*nowhere"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"No MIDI files in .*empty"):
        prepare(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "bad").mkdir()
    for name in ("a.mid", "b.mid"):
        (tmp_path / "bad" / name).write_bytes(b"RIFF")
    with pytest.raises(CorpusError, match=r"None of the 2 MIDI files .* 2 can't be read.*a\.mid: "):
        prepare(tmp_path / "bad", tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_a_ledger_row_names_the_bytes(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    shutil.copy(tmp_path / "in" / "a.mid", tmp_path / "in" / "b.mid")
    first, second = prepare(tmp_path / "in", tmp_path / "out", workers=1).ledger
    assert first.digest == second.digest and first.size == second.size > 0
    assert isinstance(first, LedgerRow)


def test_default_corpora_are_found_by_the_full_path(tmp_path: Path) -> None:
    one, other = tmp_path / "one" / "songs", tmp_path / "other" / "songs"
    assert default_corpus_dir(one, "classic") == default_corpus_dir(str(one), "classic")
    assert default_corpus_dir(one, "classic") != default_corpus_dir(other, "classic")


def test_known_files_are_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write_song(tmp_path / "in" / f"{number}.mid", 30, seed=number)
    before = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    read: list[str] = []
    read_file = parsing.Reader.read_file

    def note(self: parsing.Reader, job: parsing.Job, ids: list[int]) -> parsing.FileResult:
        read.append(job.path)
        return read_file(self, job, ids)

    monkeypatch.setattr(parsing.Reader, "read_file", note)
    parsed = Parsed(monkeypatch)
    assert prepare(tmp_path / "in", tmp_path / "out", workers=1).digest == before.digest
    assert read == []
    # Another time of change: opened, but its bytes are the known ones. And remembered.
    os.utime(tmp_path / "in" / "2.mid", ns=(1, 10**18))
    touched = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert (touched.digest, read, parsed.count) == (before.digest, ["2.mid"], 0)
    assert touched.ledger[2].mtime_ns == 10**18
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert read == ["2.mid"]
    # The same size, the same time of change, other bytes: seen when all bytes are looked at.
    stat = (tmp_path / "in" / "1.mid").stat()
    data = (tmp_path / "in" / "1.mid").read_bytes()
    (tmp_path / "in" / "1.mid").write_bytes(data.replace(b"\x3c", b"\x3d"))
    os.utime(tmp_path / "in" / "1.mid", ns=(1, stat.st_mtime_ns))
    assert prepare(tmp_path / "in", tmp_path / "out", workers=1).digest == before.digest
    after = prepare(tmp_path / "in", tmp_path / "out", workers=1, verify=True)
    assert parsed.count == 1 and after.digest != before.digest
    assert files_of(after) == files_of(prepare(tmp_path / "in", tmp_path / "new", workers=1))


def test_a_damaged_corpus_is_not_built_upon(tmp_path: Path) -> None:
    """Also where a file changed: what is damaged of the others must not get a digest that fits."""
    for name in ("a.mid", "b.mid"):
        write_song(tmp_path / "in" / name, 30)
    out = tmp_path / "out"
    whole = files_of(prepare(tmp_path / "in", out, workers=1))
    tokens = bytearray(whole["tokens.npy"])
    tokens[-2] ^= 1
    logged: list[str] = []
    (out / "tokens.npy").write_bytes(tokens)
    assert files_of(prepare(tmp_path / "in", out, workers=1, log=logged.append)) == whole
    assert logged == [
        f"The corpus {out} is damaged: tokens.npy is not what was written: it is made anew."
    ]
    (out / "tokens.npy").write_bytes(tokens)
    write_song(tmp_path / "in" / "a.mid", 31)
    fresh = files_of(prepare(tmp_path / "in", tmp_path / "fresh", workers=1))
    assert files_of(prepare(tmp_path / "in", out, workers=1)) == fresh
    (out / "corpus.json").write_text('{"format": 2}')
    assert files_of(prepare(tmp_path / "in", out, workers=1, log=logged.append)) == fresh
    assert "made by a newer version" in logged[1] and logged[1].endswith("It is made anew.")


def test_a_corpus_copied_half_is_made_anew(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    whole = files_of(prepare(tmp_path / "in", tmp_path / "out", workers=1))
    for name in whole:
        (tmp_path / "out" / name).unlink()
        logged: list[str] = []
        assert (
            files_of(prepare(tmp_path / "in", tmp_path / "out", workers=1, log=logged.append))
            == whole
        )
        assert f"{name} is missing (half-copied?): it is made anew" in logged[0]


def test_a_ledger_without_times_of_change_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are opened, and their digests are the known ones."""
    for number in range(3):
        write_song(tmp_path / "in" / f"{number}.mid", 30, seed=number)
    whole = files_of(prepare(tmp_path / "in", tmp_path / "out", workers=1))
    ledger = re.sub(rb', "mtime_ns": \d+', b"", whole["ledger.jsonl"])
    (tmp_path / "out" / "ledger.jsonl").write_bytes(ledger)
    about = json.loads(whole["corpus.json"])
    about["ledger"] = file_digest(tmp_path / "out" / "ledger.jsonl")
    (tmp_path / "out" / "corpus.json").write_text(json.dumps(with_digest(about, OWN_DIGEST)))
    parsed = Parsed(monkeypatch)
    assert files_of(prepare(tmp_path / "in", tmp_path / "out", workers=1)) == whole
    assert parsed.count == 0


def test_files_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_FILE_SIZE", 5_000)
    write_song(tmp_path / "in" / "a.mid", 30)
    write_song(tmp_path / "in" / "b.mid", 3_000)
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert corpus.ledger[1].reason == "it is larger than 16,777,216 bytes"
    assert (corpus.songs, corpus.ledger[1].digest) == (["a.mid"], "")


def test_other_windows_and_other_songs_held_out_parse_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        write_song(tmp_path / "songs" / f"{number}.mid", 60, seed=number)
    parsed = Parsed(monkeypatch)
    for held_out, window in ((0.0, 20), (0.4, 20), (0.4, 10)):
        config = Config(
            data=DataConfig(midi_dir="songs", held_out=held_out, window=window),
            run=RunConfig(workers=1),
        )
        make_windows(config, open_corpus(config, Processes(), Console()), Console())
        assert parsed.count == 5


def test_songs_stay_whole_whatever_comes_or_goes_beside_them(tmp_path: Path) -> None:
    """Songs that follow each other in the old corpus or in the journal are copied together."""
    for name in ("b", "d", "e", "f"):
        write_song(tmp_path / "in" / f"{name}.mid", 30, seed=ord(name))
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    for name in ("a", "c"):  # each begins in the journal where the song before it ends in the old
        write_song(tmp_path / "in" / f"{name}.mid", 30, seed=ord(name))
    (tmp_path / "in" / "e.mid").unlink()  # leaves a gap between d and f
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert files_of(corpus) == files_of(prepare(tmp_path / "in", tmp_path / "new", workers=1))
