"""Bad MIDI files without end, and what becomes of them: the parts of fuzz_midi.py."""
