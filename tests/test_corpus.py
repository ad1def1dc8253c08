"""A prepared corpus."""

import json
from pathlib import Path

import pytest
from midi_files import write_song

from jaxmusic.corpus import Corpus, CorpusError, find_damage, summary
from jaxmusic.preparing import prepare


def test_a_summary_stays_readable(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    for number in range(130):
        (tmp_path / "in" / f"bad{number}.mid").write_bytes(b"bad")
    lines = summary(prepare(tmp_path / "in", tmp_path / "out", workers=1, max_skipped_share=1))
    assert len(lines) == 1 + 100 + 1 + 1
    assert "and 30 more: see" in lines[101] and "ledger.jsonl" in lines[101]


def test_damaged_corpora_are_refused_and_made_anew(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    out = tmp_path / "out"
    whole = prepare(tmp_path / "in", out, workers=1).digest
    for name, damage in {
        "tokens.npy": b"\x93NUMPY",
        "songs.npy": b"",
        "vocabulary.json": b"{}",
        "corpus.json": b'{"format": 99}',
    }.items():
        (out / name).write_bytes(damage)
        with pytest.raises(CorpusError, match=str(out)):
            Corpus.open(out)
        assert prepare(tmp_path / "in", out, workers=1).digest == whole
    about = json.loads((out / "corpus.json").read_text())
    (out / "corpus.json").write_text(json.dumps({**about, "tokens": 31}))
    with pytest.raises(CorpusError, match="damaged"):
        Corpus.open(out)


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    out = prepare(tmp_path / "in", tmp_path / "out", workers=1).path
    assert find_damage(out) == ""
    for path in sorted(out.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-3] + bytes((whole[-3] ^ 1,)) + whole[-2:])
        damage = find_damage(out)
        assert str(out) in damage and damage.count(". ") <= 1, path
        path.unlink()
        assert str(out) in find_damage(out), path
        path.write_bytes(whole)
    about = json.loads((out / "corpus.json").read_text())
    (out / "corpus.json").write_text(json.dumps({**about, "digest": "0" * 32}))
    assert "corpus.json is not what was written" in find_damage(out)
    (out / "corpus.json").write_text(json.dumps({**about, "digests": ["tokens.npy"]}))
    assert str(out) in find_damage(out)


def test_corpora_of_earlier_versions_are_checked_as_far_as_they_can_be(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    out = prepare(tmp_path / "in", tmp_path / "out", workers=1).path
    about = json.loads((out / "corpus.json").read_text())
    del about["ledger"]
    (out / "corpus.json").write_text(json.dumps(about))
    assert find_damage(out) == ""
