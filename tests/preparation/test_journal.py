"""The journal of a preparation: what is on disk survives whatever stops it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.corpus.parsed_files import ChangedFileError, ParsedFiles
from jaxmusic.preparation.journal import Journal
from jaxmusic.storage.atomic import WriteError


def row(path: str, tokens: int, *, digest: str = "d") -> LedgerRow:
    return LedgerRow(path, 10, digest, tokens, "used" if tokens else "empty", mtime_ns=7)


def begin(folder: Path) -> Journal:
    folder.mkdir(parents=True)
    return Journal(folder, "midi", "classic", 1)


def write(folder: Path) -> None:
    """Three batches: a.mid and b.mid, c.mid, d.mid; with new words in the first and the last."""
    journal = begin(folder)
    for words, rows in (
        (["C4", "D4"], [row("a.mid", 3), row("b.mid", 1)]),
        ([], [row("c.mid", 0)]),
        (["D4", "E4"], [row("d.mid", 2)]),
    ):
        journal.ids_of(words)
        ids = [2 - len(journal) % 2] * sum(each.tokens for each in rows)
        journal.append(rows, np.array(ids, np.uint32) % len(journal.ids_of(["C4", "D4"])))
    journal.close()


def content(files: ParsedFiles) -> list[tuple[str, list[str]]]:
    return [
        (files.row(number).path, [files.tokens[token] for token in files.read_song(number)])
        for number in range(len(files))
    ]


WHOLE = [("a.mid", ["C4"] * 3), ("b.mid", ["C4"]), ("c.mid", []), ("d.mid", ["D4"] * 2)]


def test_a_journal_is_taken_over(tmp_path: Path) -> None:
    write(tmp_path / "j")
    journal = begin(tmp_path / "k")
    journal.ids_of(["E4", "D4"])  # other ids for the same words
    journal.append([row("z.mid", 1)], np.array([1], np.uint32))
    journal.recover(tmp_path / "j")
    assert content(journal) == [("z.mid", ["D4"]), *WHOLE]
    assert journal.tokens == ["E4", "D4", "C4"]
    assert (journal.rows["d.mid"], journal.sizes[4], journal.mtimes[4]) == (4, 10, 7)
    journal.append([row("a.mid", 1, digest="e")], np.array([2], np.uint32))  # the last one counts
    journal.close()
    again = begin(tmp_path / "l")
    for _ in range(2):  # stopped after it was taken over, and before it was removed
        again.recover(tmp_path / "k")
        again.recover(tmp_path / "j")
    assert content(again)[:6] == [("z.mid", ["D4"]), *WHOLE, ("a.mid", ["C4"])]
    assert len(again) <= 9
    again.close()


@pytest.mark.parametrize("name", ["journal.jsonl", "stream.u32"])
def test_a_journal_cut_anywhere_keeps_its_whole_batches(tmp_path: Path, name: str) -> None:
    write(tmp_path / "j")
    size = (tmp_path / "j" / name).stat().st_size
    kept = set()
    for cut in range(0, size, 5):
        folder = tmp_path / "cut"
        shutil.copytree(tmp_path / "j", folder)
        with (folder / name).open("r+b") as file:
            file.truncate(cut)
        journal = begin(tmp_path / "new")
        journal.recover(folder)
        assert content(journal) == WHOLE[: len(journal)] and len(journal) < 4
        kept.add(len(journal))
        journal.close()
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "new")
    assert kept == ({0, 2, 3} if name == "journal.jsonl" else {0, 3})


@pytest.mark.parametrize("name", ["journal.jsonl", "stream.u32"])
def test_any_byte_changed_ends_what_is_taken_over(tmp_path: Path, name: str) -> None:
    write(tmp_path / "j")
    whole = (tmp_path / "j" / name).read_bytes()
    for place in range(0, len(whole), 5):
        data = bytearray(whole)
        data[place] ^= 1
        (tmp_path / "j" / name).write_bytes(data)
        journal = begin(tmp_path / "new")
        journal.recover(tmp_path / "j")
        assert content(journal) == WHOLE[: len(journal)] and len(journal) < 4
        journal.close()
        shutil.rmtree(tmp_path / "new")


@pytest.mark.parametrize("name", ["journal.jsonl", "stream.u32"])
def test_what_another_process_changes_is_an_error_when_it_is_read(
    tmp_path: Path, name: str
) -> None:
    def changed(whole: bytes) -> bytes:
        return whole.replace(b'"b.mid"', b'"c.mid"').replace(b"\1\0", b"\2\0")

    def cut_off(whole: bytes) -> bytes:
        return whole[:3]

    for number, change in enumerate((changed, cut_off)):
        journal = begin(tmp_path / str(number))
        ids = journal.ids_of(["C4", "D4"])
        journal.append([row("a.mid", 2), row("b.mid", 0)], ids)
        path = tmp_path / str(number) / name
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(ChangedFileError, match=rf"{name} was changed, or removed, while"):
            content(journal)
        journal.close()


@pytest.mark.parametrize("header", [("notes", "classic", 1), ("midi", "timed", 1),
                                    ("midi", "classic", 2)])  # fmt: skip
def test_what_was_made_in_another_way_is_not_taken_over(
    tmp_path: Path, header: tuple[str, str, int]
) -> None:
    write(tmp_path / "j")
    (tmp_path / "k").mkdir()
    journal = Journal(tmp_path / "k", *header)  # type: ignore[arg-type]
    journal.recover(tmp_path / "j")
    journal.recover(tmp_path / "nothing")
    assert (len(journal), journal.tokens) == (0, [])
    journal.close()


def test_nobody_writes_into_anothers_journal(tmp_path: Path) -> None:
    write(tmp_path / "j")
    with pytest.raises(WriteError, match=r"journal.jsonl can't be written: File exists"):
        Journal(tmp_path / "j", "midi", "classic", 1)
