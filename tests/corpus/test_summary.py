"""What a person is shown of a corpus."""

from pathlib import Path

import pytest
from helpers.midi_files import write_song

from jaxmusic.corpus.corpus import CorpusError
from jaxmusic.corpus.summary import describe
from jaxmusic.preparation.prepare import prepare
from jaxmusic.tokenizers.tokenizer import write_midi


def test_a_summary_counts_files_and_tokens(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_midi(["C4"] * 30 + ["0.4.7"] * 10, folder / "a.mid")
    write_midi(["C4"] * 5, folder / "b.mid")
    write_midi(["D4"] * 120, folder / "c.mid")
    for number in range(3):
        (folder / f"bad{number}.mid").write_bytes(b"bad")
    (folder / "cut.mid").write_bytes((folder / "a.mid").read_bytes()[:60])
    size = sum(path.stat().st_size for path in folder.iterdir())
    corpus = prepare(folder, tmp_path / "out", max_skipped_share=0.6)
    lines = [" ".join(line.split()) for line in describe(corpus)]
    text = "\n".join(lines)
    assert f"Files 7 of {size / 1e6:,.1f} MB: 3 used, 0 empty, 4 skipped" in lines
    assert "Tokens 165, 3 distinct, 2 bytes each" in lines
    assert "Songs 3; tokens of one: median 40, mean 55, from 5 to 120" in lines
    assert "0 - 9 1 33.3% " + "#" * 40 in lines
    assert "10 - 19 0 0.0%" in lines
    assert "20 - 49 1 33.3% " + "#" * 40 in lines
    assert "100 - 199 1 33.3% " + "#" * 40 in lines
    assert text.index("120 c.mid") < text.index("40 a.mid") < text.index("5 b.mid")
    assert "D4 120 72.7% " + "#" * 40 in lines
    assert "C4 35 21.2% " + "#" * 12 in lines
    assert "it is not a MIDI file (no MThd at the start) 3 42.9% " + "#" * 40 in lines
    assert sum("14.3%" in line for line in lines) == 1  # the one that was cut
    assert "N" in next(line for line in lines if "14.3%" in line)  # numbers are of no account


def test_long_lists_are_cut(tmp_path: Path) -> None:
    for number in range(30):
        write_song(tmp_path / "in" / f"{number}.mid", 20 + number, seed=number)
    lines = [" ".join(line.split()) for line in describe(prepare(tmp_path / "in", tmp_path / "o"))]
    start = lines.index("49 29.mid")
    assert lines[start : start + 7] == [
        "49 29.mid", "48 28.mid", "47 27.mid", "...", "22 2.mid", "21 1.mid", "20 0.mid",
    ]  # fmt: skip


def test_what_is_shown_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_song(tmp_path / "in" / "a.mid", 20)
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert describe(corpus)[-1] == "All files are as they were written."
    monkeypatch.setattr("jaxmusic.corpus.summary.VERIFIED_BYTES", corpus.tokens.nbytes - 1)
    assert describe(corpus)[-1] == (
        "Not verified: the content of tokens.npy. prepare.py --check reads it all."
    )
    path = corpus.path / "tokens.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-4] + content[-2:] + content[-4:-2])
    describe(corpus)
    monkeypatch.undo()
    with pytest.raises(CorpusError, match="tokens.npy is not what was written"):
        describe(corpus)
