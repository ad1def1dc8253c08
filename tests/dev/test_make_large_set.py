"""The program that makes large sets."""

import shutil
import subprocess
import sys
from pathlib import Path

import mido
import pytest
from helpers.midi_files import write_song
from helpers.paths import SCRIPTS

from jaxmusic.benchmarks import large_sets
from jaxmusic.benchmarks.large_sets import make_file, read_songs
from jaxmusic.benchmarks.results.output_files import check_new_folder
from jaxmusic.config import ConfigError
from jaxmusic.midi.types import MidiError
from jaxmusic.tokenizers.tokenizer import parse_tokens


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    for number in range(5):
        write_song(tmp_path / "songs" / f"{number}.mid", 100 + number, seed=number)
    return tmp_path / "songs"


def test_files_are_sound_and_varied(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_sets, "DAMAGED", 0.0)
    read = read_songs(songs)
    files = [make_file(read, 0, number) for number in range(40)]
    assert len(set(files)) == 40
    assert files == [make_file(read, 0, number) for number in range(40)]
    assert files[0] != make_file(read, 1, 0)
    streams, programs = [], set()
    for number, data in enumerate(files):
        path = songs / "made.mid"
        path.write_bytes(data)
        messages = [message for track in mido.MidiFile(path).tracks for message in track]
        programs |= {message.program for message in messages if message.type == "program_change"}
        notes = [message for message in messages if message.type.startswith("note")]
        ons = [note for note in notes if note.type == "note_on" and note.velocity]
        assert len(ons) == len(notes) / 2 > 0, number
        streams.append(tuple(parse_tokens(data)))
    assert len(programs) > 5
    assert len({len(stream) for stream in streams}) > 20


def test_some_files_are_damaged(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_sets, "DAMAGED", 0.5)
    read = read_songs(songs)
    refused = 0
    for number in range(40):
        try:
            parse_tokens(make_file(read, 0, number))
        except MidiError:
            refused += 1
    assert 5 < refused < 35


def test_the_command_line(songs: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, SCRIPTS / "dev" / "make_large_set.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    ran = run(tmp_path / "out", "--files", "7", "--midi-dir", songs)
    assert ran.returncode == 0, ran.stderr
    assert "7 files" in ran.stdout
    assert len(list((tmp_path / "out").rglob("*.mid"))) == 7
    again = run(tmp_path / "out", "--files", "7", "--midi-dir", songs)
    assert (again.returncode, "is not empty" in again.stderr) == (2, True)
    shutil.rmtree(songs)
    assert "There is no folder" in run(tmp_path / "new", "--midi-dir", songs).stderr
    assert "--files is 0" in run(tmp_path / "new", "--files", "0").stderr


def test_a_link_that_leads_nowhere_is_no_folder_to_fill(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="out is a link that leads to no folder: give a folder"):
        check_new_folder("out", tmp_path / "out")
