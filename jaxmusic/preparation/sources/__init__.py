"""Corpora from other sources than MIDI files: the notebooks' notes, piano-roll sets."""
