"""Where the repository has its parts."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "jaxmusic"
TESTS = ROOT / "tests"
SCRIPTS = ROOT / "scripts"
MIDI_SONGS = ROOT / "midi_songs"
