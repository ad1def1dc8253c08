"""Small MIDI files for the tests to train on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmusic.tokenizers.tokenizer import write_midi

SCALE = ["C4", "D4", "E4", "F4", "G4", "A4", "B4", "C5", "0.4.7", "7.11.2", "5.9.0"]


def write_song(path: Path, length: int, seed: int = 0, tokens: Sequence[str] = SCALE) -> list[str]:
    """Write a song of so many of these tokens; the song."""
    rng = np.random.default_rng(seed)
    song = [tokens[place] for place in np.cumsum(rng.integers(-2, 3, length)) % len(tokens)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_midi(song, path)
    return song
