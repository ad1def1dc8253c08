"""The journal of a preparation: what is on disk survives whatever stops it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from midi_files import write_song

from jaxmusic.corpus import CorpusError, LedgerRow
from jaxmusic.preparing import prepare
from jaxmusic.records import Journal, Records


def row(path: str, tokens: int) -> LedgerRow:
    return LedgerRow(path, 10, "d", tokens, "used" if tokens else "empty", mtime_ns=7)


def write(folder: Path) -> None:
    """Three batches: a.mid and b.mid, c.mid, d.mid; with new words in the first and the last."""
    folder.mkdir(parents=True)
    journal = Journal(folder, "classic", 1)
    for words, rows in (
        (["C4", "D4"], [row("a.mid", 3), row("b.mid", 1)]),
        ([], [row("c.mid", 0)]),
        (["D4", "E4"], [row("d.mid", 2)]),
    ):
        journal.numbers_of(words)
        ids = [3 - len(journal) % 2] * sum(each.tokens for each in rows)
        journal.append(rows, np.array(ids, np.uint32))
    journal.close()


def content(records: Records) -> list[tuple[str, list[int]]]:
    return [
        (records.row(number).path, records.read_ids(start, count).tolist())
        for number, (start, count) in enumerate(zip(records.starts, records.counts, strict=True))
    ]


WHOLE = [("a.mid", [3, 3, 3]), ("b.mid", [3]), ("c.mid", []), ("d.mid", [2, 2])]


def test_a_journal_is_found_again(tmp_path: Path) -> None:
    write(tmp_path / "j")
    journal = Journal(tmp_path / "j", "classic", 1)
    assert content(journal) == WHOLE
    assert journal.words == ["C4", "D4", "E4"]
    assert (journal.rows["d.mid"], journal.sizes[3], journal.stamps[3]) == (3, 10, 7)
    assert journal.numbers_of(["E4", "F4", "C4"]).tolist() == [2, 3, 0]
    journal.append([row("a.mid", 1)], np.array([3], np.uint32))  # anew: the last row counts
    journal.close()
    journal = Journal(tmp_path / "j", "classic", 1)
    assert content(journal) == [*WHOLE, ("a.mid", [3])]
    assert journal.rows["a.mid"] == 4
    assert journal.words == ["C4", "D4", "E4", "F4"]
    journal.close()


@pytest.mark.parametrize("name", ["journal.jsonl", "stream.u32"])
def test_a_journal_cut_anywhere_keeps_its_whole_batches(tmp_path: Path, name: str) -> None:
    write(tmp_path / "j")
    size = (tmp_path / "j" / name).stat().st_size
    kept = set()
    for cut in range(size):
        folder = tmp_path / "cut"
        shutil.copytree(tmp_path / "j", folder)
        with (folder / name).open("r+b") as file:
            file.truncate(cut)
        journal = Journal(folder, "classic", 1)
        assert content(journal) == WHOLE[: len(journal)] and len(journal) < 4
        kept.add(len(journal))
        # What comes next follows what was kept, and nothing of the rest is left.
        ids = journal.numbers_of(["G4"])
        journal.append([row("z.mid", 1)], ids)
        journal.close()
        again = Journal(folder, "classic", 1)
        assert content(again) == [*WHOLE[: len(again) - 1], ("z.mid", ids.tolist())]
        assert again.words[ids[0]] == "G4"
        again.close()
        shutil.rmtree(folder)
    assert kept == ({0, 2, 3} if name == "journal.jsonl" else {0, 3})


def test_ids_that_were_not_what_was_written_are_cut_off(tmp_path: Path) -> None:
    write(tmp_path / "j")
    ids = tmp_path / "j" / "stream.u32"
    data = bytearray(ids.read_bytes())
    data[-1] ^= 1
    ids.write_bytes(data)
    journal = Journal(tmp_path / "j", "classic", 1)
    assert content(journal) == WHOLE[:3]
    journal.close()


def test_another_tokeniser_begins_anew(tmp_path: Path) -> None:
    write(tmp_path / "j")
    journal = Journal(tmp_path / "j", "classic", 2)
    assert (len(journal), journal.words) == (0, [])
    journal.close()


def test_a_corpus_is_records_too(tmp_path: Path) -> None:
    for number in range(3):
        write_song(tmp_path / "in" / f"{number}.mid", 20 + number, seed=number)
    (tmp_path / "in" / "1.mid").write_bytes(b"bad")
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    records = Records.of(corpus)
    assert [records.row(number) for number in range(3)] == corpus.ledger
    assert list(records.counts) == [20, 0, 22]
    assert records.read_ids(20, 22).tolist() == corpus.tokens[20:].tolist()
    records.close()
    ledger = tmp_path / "out" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"tokens": 22', b'"tokens": 23'))
    with pytest.raises(CorpusError, match="ledger.jsonl tells 43 tokens, where it holds 42"):
        Records.of(corpus)
