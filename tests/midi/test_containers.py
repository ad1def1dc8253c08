"""MIDI files inside RIFF, MacBinary and gzip files."""

import gzip
import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.midi_bytes import chunk, midi, off, on, track
from helpers.midi_files import write_song

from jaxmusic.midi import reader
from jaxmusic.midi.containers import unwrap
from jaxmusic.midi.reader import parse_midi
from jaxmusic.midi.types import MidiError
from jaxmusic.preparation.prepare import prepare
from jaxmusic.tokenizers.tokenizer import parse_tokens, read_tokens

SONG = midi(track(on(0, 60), off(480, 60), on(0, 64), off(480, 64)))
MAX_SIZE = 2**24


def riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def riff(*chunks: bytes, kind: bytes = b"RMID") -> bytes:
    return riff_chunk(b"RIFF", kind + b"".join(chunks))


def rmid(data: bytes) -> bytes:
    return riff(riff_chunk(b"data", data))


def rmid_with_more(data: bytes) -> bytes:
    """With chunks before and after, one of an odd size."""
    text = riff_chunk(b"LIST", b"INFOINAM" + b"odd")
    return riff(text, riff_chunk(b"data", data), riff_chunk(b"DISP", b"1234"))


def unsized(data: bytes) -> bytes:
    """A RIFF file whose writer never filled in the sizes."""
    return b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + data


def mac_binary(data: bytes, *, size: int | None = None) -> bytes:
    """As of "Song": type Midi, a resource fork after the data."""
    header = bytearray(128)
    header[1:6] = b"\x04Song"
    header[65:73] = b"MidiTTxt"
    header[83:87] = (len(data) if size is None else size).to_bytes(4)
    header[87:91] = (300).to_bytes(4)
    return bytes(header) + data + bytes(-len(data) % 128) + b"\x7f" * 300


def named_gzip(data: bytes) -> bytes:
    """With the name of the file in its header, as gzip writes it."""
    packed = gzip.compress(data, mtime=0)
    return packed[:3] + b"\x08" + packed[4:10] + b"song.mid\0" + packed[10:]


WRAPPERS: dict[str, Callable[[bytes], bytes]] = {
    "RIFF": rmid,
    "RIFF with more": rmid_with_more,
    "RIFF without sizes": unsized,
    "MacBinary": mac_binary,
    "MacBinary without a size": lambda data: mac_binary(data, size=0),
    "gzip": gzip.compress,
    "gzip with a name": named_gzip,
    "gzip with rubbish after it": lambda data: gzip.compress(data) + bytes(512),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_file_gives_the_inner_tokens(tmp_path: Path, name: str) -> None:
    wrapped = WRAPPERS[name](SONG)
    assert unwrap(wrapped, MAX_SIZE).startswith(SONG)
    path = tmp_path / "song.mid"
    path.write_bytes(wrapped)
    assert read_tokens(path) == parse_tokens(wrapped) == ["C4", "E4"]


def test_what_follows_the_data_is_no_part_of_a_track() -> None:
    """Of a last track that claims more bytes than there are: they would be read as events."""
    cut = midi(chunk(b"MTrk", on(0, 60) + off(480, 60), 999))
    expected = parse_midi(cut)
    for wrap in (rmid_with_more, mac_binary):
        assert unwrap(wrap(cut), MAX_SIZE) == cut
        assert parse_midi(wrap(cut)).tracks[0].ends.tolist() == expected.tracks[0].ends.tolist()


def test_wrapped_files_are_prepared_under_the_digest_of_the_file(tmp_path: Path) -> None:
    for number, wrap in enumerate((rmid, mac_binary, named_gzip)):
        path = tmp_path / "in" / f"{number}.mid"
        song = write_song(path, 30)
        path.write_bytes(wrap(path.read_bytes()))
    corpus = prepare(tmp_path / "in", tmp_path / "out", workers=1, max_skipped_share=0)
    assert corpus.vocabulary.decode(corpus.tokens) == 3 * song
    for row in corpus.ledger:
        data = (tmp_path / "in" / row.path).read_bytes()
        assert (row.size, row.tokens) == (len(data), 30)
        assert row.digest == hashlib.blake2b(data, digest_size=16).hexdigest()


REFUSED = {
    "a WAVE file": (riff(riff_chunk(b"data", SONG), kind=b"WAVE"), "is not a MIDI file"),
    "RMID without data": (riff(riff_chunk(b"LIST", b"INFO")), "RIFF wrapper has no chunk of data"),
    "RMID of nothing": (riff(), "its RIFF wrapper has no chunk of data"),
    "RMID of another file": (rmid(b"no music"), "its RIFF wrapper holds no MIDI file"),
    "zeros before a MIDI file": (bytes(128) + SONG, "it is not a MIDI file"),
    "gzip of another file": (gzip.compress(b"no music"), "its gzip wrapper holds no MIDI file"),
    "gzip cut off": (gzip.compress(SONG)[:-9], "its gzip wrapper ends early"),
    "gzip alone": (b"\x1f\x8b", "its gzip wrapper ends early"),
    "gzip with a changed digest": (gzip.compress(SONG)[:-5] + b"\1\0\0\0\0", "wrapper is damaged"),
    "two in one": (gzip.compress(SONG) + gzip.compress(SONG), "more than one member"),
    "gzip in gzip": (gzip.compress(gzip.compress(SONG)), "its gzip wrapper holds no MIDI file"),
    "RIFF in gzip": (gzip.compress(rmid(SONG)), "its gzip wrapper holds no MIDI file"),
    "gzip in RIFF": (rmid(gzip.compress(SONG)), "its RIFF wrapper holds no MIDI file"),
    "RIFF in MacBinary": (mac_binary(rmid(SONG)), "it is not a MIDI file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrapper_without_a_midi_file_is_refused_with_the_reason(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(MidiError, match=reason):
        parse_midi(data)


def test_no_more_is_unpacked_than_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(SONG + bytes(2**26))
    tracemalloc.start()
    with pytest.raises(MidiError, match="unpacked it is larger than 1,048,576 bytes"):
        unwrap(bomb, 2**20)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    padded = SONG + bytes(1000)
    monkeypatch.setattr(reader, "MAX_FILE_SIZE", len(padded))
    assert parse_tokens(gzip.compress(padded)) == ["C4", "E4"]
    with pytest.raises(MidiError, match="unpacked it is larger than"):
        parse_midi(gzip.compress(padded + b"\0"))


@pytest.mark.parametrize("name", WRAPPERS)
def test_damaged_wrappers_raise_nothing_but_midi_errors(name: str) -> None:
    wrapped = WRAPPERS[name](SONG)
    read = refused = 0
    for position in range(min(len(wrapped), 200)):
        for data in (
            wrapped[:position],
            wrapped[:position] + b"\xff" + wrapped[position + 1 :],
            wrapped[:position] + wrapped[position + 1 :],
        ):
            try:
                parse_midi(data)
                read += 1
            except MidiError:
                refused += 1
    assert read > 5 and refused > 50
