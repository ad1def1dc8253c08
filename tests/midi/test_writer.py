"""Written MIDI files: their notes and meta events, and values that are refused."""

from pathlib import Path

import mido
import pytest
from helpers.midi_notes import notes_of

from jaxmusic.midi.reader import read_midi
from jaxmusic.midi.types import PROGRAM, MetaEvent, Note
from jaxmusic.midi.writer import write_notes


def test_written_notes_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out.mid"
    left, right = [Note(0, 480, 48), Note(480, 960, 50)], [Note(240, 720, 72, 100)]
    write_notes(path, [left, right], program=5, key="F#m", title="t", tempos=[(0, 90.0)])
    score = read_midi(path)
    assert notes_of(score) == [[], [(0, 480, 48), (480, 960, 50)], [(240, 720, 72)]]
    assert score.ticks_per_quarter == 480
    assert score.tracks[1].meta_events == [MetaEvent(0, PROGRAM, 5)]
    assert mido.MidiFile(path).tracks[0][2].tempo == mido.bpm2tempo(90)


def test_a_pitch_that_starts_again_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "out.mid"
    write_notes(path, [[Note(0, 480, 60), Note(240, 720, 60), Note(240, 300, 60)]])
    assert notes_of(read_midi(path))[1] == [(0, 240, 60), (240, 720, 60)]


def test_values_that_midi_cannot_hold_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.mid"
    for notes in ([Note(0, 9, 128)], [Note(0, 9, 60, 200)], [Note(-5, 9, 60)]):
        with pytest.raises(ValueError, match=r"."):
            write_notes(path, [notes])
    assert not list(tmp_path.iterdir())
