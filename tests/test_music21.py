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
from hypothesis import HealthCheck, given, settings
from midi_bytes import header
from random_midi import damaged_files, dense_file, files, packed_files

from jaxmusic.classic import classic_tokens
from jaxmusic.effort import Effort
from jaxmusic.midi import MidiError, MidiScore
from jaxmusic.pitches import chord_name
from jaxmusic.tokens import read_tokens, write_midi
from jaxmusic.track import read_loose_track

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
            [sys.executable, str(Path(__file__).with_name("music21_oracle.py"))],
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


def test_dense_files_are_read_as_by_music21(oracle: Oracle) -> None:
    for seed in range(EXAMPLES):
        data = dense_file(seed)
        assert ours(oracle, data) == oracle.tokens(data), f"dense_file({seed})"


@given(data=files())
@random_files
def test_tokens_are_those_of_music21(data: bytes, oracle: Oracle) -> None:
    assert ours(oracle, data) == oracle.tokens(data)


@given(data=packed_files())
@random_files
def test_running_status_is_read_as_by_music21(data: bytes, oracle: Oracle) -> None:
    assert ours(oracle, data) == oracle.tokens(data)


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
    tracks = [read_loose_track(data, start, end, Effort()) for start, end in chunks]
    return classic_tokens(MidiScore(quarter, tracks))


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


def test_chords_are_named_as_by_music21(oracle: Oracle) -> None:
    """All 4,095 sets take music21 a minute, so this is one in eight unless more is asked for."""
    sets = range(1, 4096, 8 if EXAMPLES <= 150 else 1)
    lists = [[number for number in range(12) if classes >> number & 1] for classes in sets]
    assert [chord_name(classes) for classes in sets] == oracle.ask(lists)["chords"]
