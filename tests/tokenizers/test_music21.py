"""The token stream against music21 5.7.2, which defines it.

JAXMUSIC_MUSIC21 names the folder where it is installed (pip install --no-deps --target FOLDER
music21==5.7.2, and the few packages that it imports); without it these tests are skipped.
JAXMUSIC_MUSIC21_EXAMPLES is the number of random files for each test.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import mido
import pytest
from helpers.midi_bytes import header, meta, meter, midi, off, on, tempo, track
from helpers.midi_notes import mido_notes
from helpers.paths import TESTS
from helpers.random_midi import damaged_files, dense_file, files, packed_files
from hypothesis import HealthCheck, given, settings

from jaxmusic.midi.lenient_reader import read_lenient_track
from jaxmusic.midi.parse_budget import ParseBudget
from jaxmusic.midi.types import MidiError, MidiScore
from jaxmusic.tokenizers.classic import ClassicTokenizer
from jaxmusic.tokenizers.pitch_names import chord_name
from jaxmusic.tokenizers.tokenizer import get_tokenizer, parse_tokens, read_tokens, write_midi

FOLDER = os.environ.get("JAXMUSIC_MUSIC21", "")
EXAMPLES = int(os.environ.get("JAXMUSIC_MUSIC21_EXAMPLES", "150"))
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="JAXMUSIC_MUSIC21 does not name a folder with music21 5.7.2"
)
random_files = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 150,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Oracle:
    """music21 in a process of its own, since it must not be on this one's path."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "example.mid"
        self._process = subprocess.Popen(
            [sys.executable, str(TESTS / "helpers" / "music21_oracle.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": FOLDER},
        )
        assert self._answer() == {"ready": True}

    def ask(self, question: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def tokens(self, data: bytes) -> list[str] | None:
        """What music21 makes of a file; None if it refuses it."""
        self.path.write_bytes(data)
        return cast("list[str] | None", self.ask(str(self.path)).get("tokens"))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return cast("dict[str, Any]", json.loads(self._process.stdout.readline()))


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    oracle = Oracle(tmp_path_factory.mktemp("oracle"))
    yield oracle
    oracle.close()


def ours(oracle: Oracle, data: bytes) -> list[str] | None:
    oracle.path.write_bytes(data)
    try:
        return read_tokens(oracle.path)
    except MidiError:
        return None


@pytest.mark.slow
def test_dense_files_are_read_as_by_music21(oracle: Oracle) -> None:
    for seed in range(EXAMPLES):
        data = dense_file(seed)
        assert ours(oracle, data) == oracle.tokens(data), f"dense_file({seed})"


@pytest.mark.slow
@given(data=files())
@random_files
def test_tokens_are_those_of_music21(data: bytes, oracle: Oracle) -> None:
    assert ours(oracle, data) == oracle.tokens(data)


@pytest.mark.slow
@given(data=packed_files())
@random_files
def test_running_status_is_read_as_by_music21(data: bytes, oracle: Oracle) -> None:
    assert ours(oracle, data) == oracle.tokens(data)


@pytest.mark.slow
@given(data=damaged_files())
@random_files
def test_damaged_files_are_read_as_by_music21(data: bytes, oracle: Oracle) -> None:
    """Where mido refuses the file; where it doesn't, the loose reader alone reads like music21."""
    theirs = oracle.tokens(data)
    if theirs is None:
        return
    try:
        assert loose_tokens(data) == theirs
        if not is_read_by_mido(data):
            assert read_tokens(oracle.path) == theirs
    except MidiError as error:
        assert "a number in a track is above" in str(error)  # music21 takes any of 999 bytes


NOTES = on(0, 64) + off(480, 64) + on(0, 67) + off(480, 67)
BEFORE = on(0, 60) + off(480, 60)
TWO_READINGS = {
    # The status that is left out repeats the note-on to mido. To music21 it repeats the meta event,
    # and it finds no note that ends any more.
    "a tempo in running status": (on(0, 60) + tempo(480) + b"\0\x3c\0" + NOTES, []),
    "a meter in running status": (on(0, 60) + meter(480) + b"\0\x3c\0" + NOTES, []),
    "a lyric in running status": (on(0, 60) + meta(480, 5, b"la") + b"\0\x3c\0" + NOTES, []),
    # It takes the event for a delta time and its data for events.
    "meta event 0x0A": (BEFORE + meta(0, 0x0A, b"abc") + NOTES, ["C4", "G4"]),
    "meta event 0x4B": (BEFORE + meta(480, 0x4B, b"\1\2\3") + NOTES, ["C4", "G4"]),
}


@pytest.mark.parametrize("name", TWO_READINGS)
def test_where_mido_and_music21_read_a_file_differently_it_is_read_as_mido_does(
    name: str, oracle: Oracle
) -> None:
    """These are all the differences met in 496 real files, of which 28 had them."""
    events, theirs = TWO_READINGS[name]
    data = midi(track(events))
    notes = mido_notes(data)
    assert notes is not None and [pitch for _, _, pitch in notes[0]] == [60, 64, 67]
    assert ours(oracle, data) == ["C4", "E4", "G4"]
    assert oracle.tokens(data) == theirs == loose_tokens(data)


def loose_tokens(data: bytes) -> list[str]:
    """The tokens by the loose reader, whether or not mido reads the file."""
    chunks = []
    position = len(header(0))
    for _ in range(int.from_bytes(data[10:12])):
        start = position + 8
        position = start + int.from_bytes(data[position + 4 : start])
        chunks.append((start, position))
    division = int.from_bytes(data[12:14])
    quarter = 1024 if division & 0x8000 else division
    tracks = [read_lenient_track(data, start, end, ParseBudget()) for start, end in chunks]
    return ClassicTokenizer().encode(MidiScore(quarter, tracks))


def is_read_by_mido(data: bytes) -> bool:
    try:
        mido.MidiFile(file=io.BytesIO(data))
    except Exception:  # mido has no exception of its own
        return False
    return True


def test_written_tokens_are_read_back_by_music21(oracle: Oracle) -> None:
    tokens = ["C4", "C4", "0.4.7", "C4", "9", "E-1", "0.4.7.8", "B-3", "G9", "C-1", "9", "9.0.4"]
    write_midi(tokens, oracle.path)
    assert oracle.tokens(oracle.path.read_bytes()) == tokens


@pytest.mark.slow
def test_notes_of_timed_tokens_are_those_that_music21_reads(oracle: Oracle) -> None:
    """On the grid of 12; on a finer one it takes notes of nearly one onset for chords."""
    tokenizer = get_tokenizer("timed-loud")
    for seed in range(20):
        tokens = parse_tokens(dense_file(seed), tokenizer.name)
        write_midi(tokens, oracle.path, scheme=tokenizer.name)
        (notes,) = tokenizer.decode(tokens, step=0.5)
        assert oracle.ask({"notes": str(oracle.path)})["notes"] == sorted(map(list, notes))


@pytest.mark.slow
def test_chords_are_named_as_by_music21(oracle: Oracle) -> None:
    """All 4,095 sets take music21 a minute, so this is one in eight unless more is asked for."""
    sets = range(1, 4096, 8 if EXAMPLES <= 150 else 1)
    lists = [[number for number in range(12) if classes >> number & 1] for classes in sets]
    assert [chord_name(classes) for classes in sets] == oracle.ask(lists)["chords"]
