"""Generated bad MIDI files, and checks of how they are parsed: the parts of fuzz_midi.py."""
