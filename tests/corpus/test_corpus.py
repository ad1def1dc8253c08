"""A prepared corpus."""

import contextlib
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.midi_files import write_song

from jaxmusic.corpus import corpus
from jaxmusic.corpus.corpus import (
    DIGESTED,
    Corpus,
    CorpusError,
    digest_of,
    find_damage,
)
from jaxmusic.corpus.metadata import OWN_DIGEST
from jaxmusic.corpus.summary import describe, summarize
from jaxmusic.preparation.prepare import prepare
from jaxmusic.storage.reading import file_digest, with_digest


def test_a_summary_stays_readable(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    for number in range(130):
        (tmp_path / "in" / f"bad{number}.mid").write_bytes(b"bad")
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1, max_skipped_share=1)
    lines = summarize(corpus)
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


def changed_header(npy: bytes, old: bytes, new: bytes) -> bytes:
    """The .npy file with other words in its header, of the same length."""
    assert npy.count(old) == 1
    header = npy[:128].replace(old, new).rstrip()
    return header.ljust(127) + b"\n" + npy[128:]


def with_objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(["C4", 1], object), allow_pickle=True)
    return file.getvalue()


def test_every_kind_of_damage_is_reported(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    write_song(tmp_path / "in2" / "a.mid", 30, seed=3)
    out = prepare(tmp_path / "in", tmp_path / "out", workers=1).path
    other = prepare(tmp_path / "in2", tmp_path / "other", workers=1).path
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    tokens, songs, about = (whole[name] for name in ("tokens.npy", "songs.npy", "corpus.json"))

    def told_otherwise(name: str, value: Any) -> bytes:
        return json.dumps(with_digest({**json.loads(about), name: value}, OWN_DIGEST)).encode()

    for name, content, reason in [
        ("tokens.npy", None, "tokens.npy is missing (half-copied?)"),
        ("songs.npy", None, "songs.npy is missing (half-copied?)"),
        ("vocabulary.json", None, "vocabulary.json is missing (half-copied?)"),
        ("corpus.json", None, "corpus.json is missing (half-copied?)"),
        ("tokens.npy", tokens[:-7], "tokens.npy: it has 181 bytes, but its header says 188"),
        ("tokens.npy", tokens + b"\0", "tokens.npy: it has 189 bytes, but its header says 188"),
        ("tokens.npy", tokens[:50], "tokens.npy: it is not an array that NumPy saved"),
        ("tokens.npy", b"PK\x03\x04", "tokens.npy: it is not an array that NumPy saved"),
        ("tokens.npy", with_objects(), "tokens.npy: it holds what NumPy calls |O, not whole num"),
        ("tokens.npy", changed_header(tokens, b"(30,)", b"(3, 10)"), "the shape (3, 10) and"),
        ("tokens.npy", changed_header(tokens, b"<u2", b"<i2"), "the type int16, where one dim"),
        (
            "tokens.npy",
            changed_header(tokens, b"30", b"9" * 20),
            "header says 20000000000000",
        ),
        (
            "songs.npy",
            songs[:-8] + b"\x07" + songs[-7:],
            "songs.npy doesn't hold the offsets of songs",
        ),
        (
            "songs.npy",
            changed_header(songs, b"<i8", b"<u8"),
            "songs.npy doesn't hold the offsets of songs",
        ),
        ("vocabulary.json", b'{"a": ' + b"[" * 100_000, "it is nested too deep"),
        ("vocabulary.json", b'{"format": 1}', "it lacks the field 'scheme'"),
        ("corpus.json", b"[]", "corpus.json: expected `object`, got `array`"),
        ("corpus.json", b"{}", "corpus.json: it lacks the field 'format'"),
        ("corpus.json", b"{", "corpus.json: it is not JSON"),
        ("corpus.json", told_otherwise("tokens", "30"), "the field 'tokens': expected `int`"),
        ("corpus.json", told_otherwise("songs", -1), "the field 'songs': expected `int` >= 0"),
        (
            "corpus.json",
            told_otherwise("songs", 2),
            "but corpus.json says 30 tokens, 2 songs and ",
        ),
        ("corpus.json", told_otherwise("scheme", "timed"), "the scheme classic, but"),
        ("corpus.json", told_otherwise("digest", None), "'digest': expected `str`, got `null`"),
    ]:
        if content is None:
            (out / name).unlink()
        else:
            (out / name).write_bytes(content)
        with pytest.raises(CorpusError) as caught:
            Corpus.open(out)
        assert f"The corpus {out} is damaged: " in str(caught.value)
        assert reason in str(caught.value) and "\n" not in str(caught.value)
        (out / name).write_bytes(whole[name])
    Corpus.open_checked(out)

    for version, remedy in ((2, "a newer .* 2; .* update jaxmusic"), (0, "an older .*prepare it")):
        (out / "corpus.json").write_bytes(told_otherwise("format", version))
        with pytest.raises(CorpusError, match=remedy):
            Corpus.open(out)
    (out / "corpus.json").write_bytes(about)

    for old, new in ((b'"files": 1', b'"files": 2'), (b'"left_out": false', b'"left_out": true')):
        assert about.count(old + b",") == 1
        (out / "corpus.json").write_bytes(about.replace(old + b",", new + b","))
        with pytest.raises(CorpusError, match="damaged: corpus.json is not what was written"):
            Corpus.open(out)
    (out / "corpus.json").write_bytes(about)

    # Of the same size and valid: only the digests differ.
    for name in ("tokens.npy", "vocabulary.json"):
        (out / name).write_bytes((other / name).read_bytes())
        Corpus.open(out)
        with pytest.raises(CorpusError, match=f"damaged: {name} is not what was written"):
            Corpus.open_checked(out)
        (out / name).write_bytes(whole[name])


def forge(folder: Path) -> None:
    """Write the digests of the present files into corpus.json."""
    about = json.loads((folder / "corpus.json").read_text())
    about["digests"] = {name: file_digest(folder / name) for name in DIGESTED}
    about["digest"] = digest_of(about["digests"])
    about["ledger"] = file_digest(folder / "ledger.jsonl")
    (folder / "corpus.json").write_text(json.dumps(with_digest(about, OWN_DIGEST)))


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("tokens.npy", None, b"\xff\0", "tokens.npy has the token id 255, but the vocabulary"),
        ("vocabulary.json", b'"\n]', b'x"\n]', "x' is neither a pitch nor a chord"),
        ("vocabulary.json", b'"\n]', b'\\ud800"\n]', "its tokens are not all printable text"),
        ("ledger.jsonl", b'"used"', b'"empty"', "ledger.jsonl lists 0 files used, but there are 1"),
        ("ledger.jsonl", b'"used"', b'"lost"', "'status': invalid enum value 'lost'"),
        ("ledger.jsonl", b'"used"', b"[]", "'status': expected `str`, got"),
        ("ledger.jsonl", b"a.mid", b"\\ud800", "can't encode character"),
        ("ledger.jsonl", b'"size"', b'"length"', "it lacks the field 'size'"),
        ("ledger.jsonl", b'"tokens": 30', b'"tokens": 1e9', "'tokens': expected `int`, got"),
    ],
)
def test_what_was_written_wrong_is_refused_too(
    tmp_path: Path, name: str, old: bytes | None, new: bytes, reason: str
) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    out = prepare(tmp_path / "in", tmp_path / "out", workers=1).path
    content = (out / name).read_bytes()
    (out / name).write_bytes(content[:-2] + new if old is None else content.replace(old, new))
    forge(out)
    with pytest.raises(CorpusError) as caught:
        _ = Corpus.open_checked(out).songs  # as a training does
    assert reason in str(caught.value) and str(out) in str(caught.value)
    with contextlib.suppress(CorpusError):  # reading it may raise the same
        describe(Corpus.open(out))


def test_no_random_damage_gives_anything_but_the_clear_error(tmp_path: Path) -> None:
    for number in range(3):
        write_song(tmp_path / "in" / f"{number}.mid", 30, seed=number)
    out = prepare(tmp_path / "in", tmp_path / "out", workers=1).path
    whole = {path.name: path.read_bytes() for path in sorted(out.iterdir())}
    logged = [*describe(Corpus.open(out)), *summarize(Corpus.open(out))]
    rng = random.Random(5)
    for _ in range(150):
        name = rng.choice(list(whole))
        content = bytearray(whole[name])
        for _ in range(rng.choice((1, 1, 5))):
            content[rng.randrange(len(content))] = rng.choice(b'0129"[]{},:()<u \n\xff')
        if rng.random() < 0.3:
            del content[rng.randrange(len(content)) :]
        (out / name).write_bytes(content)
        forged = rng.random() < 0.5
        if forged:
            with contextlib.suppress(ValueError, TypeError):
                forge(out)
        for opened in (Corpus.open, Corpus.open_checked):
            try:
                corpus = opened(out)
                now = [*describe(corpus), *summarize(corpus)]
            except CorpusError as error:
                assert str(out) in str(error) and "\n" not in str(error)
            else:  # nobody is shown other figures than those that were written
                assert forged or now == logged
        if not forged and name != "corpus.json":  # where a blank more or less is no damage
            assert (find_damage(out) == "") == (content == whole[name])
        for each, old in whole.items():
            (out / each).write_bytes(old)


def test_a_large_corpus_is_reported_before_it_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_song(tmp_path / "in" / "a.mid", 30)
    out = prepare(tmp_path / "in", tmp_path / "out", workers=1).path
    logged: list[str] = []
    Corpus.open_checked(out, logged.append)
    assert logged == []
    monkeypatch.setattr(corpus, "ANNOUNCED_BYTES", 59)
    Corpus.open_checked(out, logged.append)
    assert logged == [f"Checking 0.0 GB of the corpus {out}."]
