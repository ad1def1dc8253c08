"""MIDI readers to compare: jaxmusic's, music21's and those of other libraries."""

import importlib.metadata
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxmusic.midi.types import MidiError
from jaxmusic.preparation.prepare import prepare
from jaxmusic.tokenizers.tokenizer import read_tokens

# What music21's tokens are the same as ours in: later versions partition otherwise.
SAME_TOKENS = "5.7.2"


class MidiReader:
    """A reader of a folder of MIDI files."""

    def __init__(self, way: str, folder: Path, workers: int) -> None:
        self.folder = folder
        self.paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.workers = workers
        self.unreadable = 0  # files that it can't read, in the last pass
        self.way = way
        self.read = None if way == "jaxmusic" else READERS[way]()

    def run(self, steps: int) -> None:
        """Read all files, `count` times."""
        for _ in range(steps):
            if self.read is None:
                self._prepare()
            else:
                self._read_all(self.read)

    def report(self) -> dict[str, Any]:
        """What else was seen."""
        return {"unreadable": self.unreadable} if self.unreadable else {}

    def tokens(self) -> list[list[str]] | None:
        """The tokens of each file, where the reader gives the same ones as jaxmusic."""
        if self.way == "jaxmusic":
            return [_our_tokens(path) for path in self.paths]
        if self.way == "music21" and importlib.metadata.version("music21") == SAME_TOKENS:
            return [_music21_tokens(path) for path in self.paths]
        return None

    def _prepare(self) -> None:
        corpus = Path(tempfile.mkdtemp(prefix="benchmark-corpus-"))
        try:
            prepare(self.folder, corpus / "corpus", workers=self.workers)
        finally:
            shutil.rmtree(corpus)

    def _read_all(self, read: Callable[[Path], object]) -> None:
        self.unreadable = 0
        for path in self.paths:
            try:
                read(path)
            except Exception:  # each library has kinds of its own
                self.unreadable += 1


def _our_tokens(path: Path) -> list[str]:
    try:
        return read_tokens(path)
    except MidiError:
        return []


def _mido() -> Callable[[Path], object]:
    import mido  # noqa: PLC0415

    return mido.MidiFile  # type: ignore[no-any-return]


def _pretty_midi() -> Callable[[Path], object]:
    import pretty_midi  # noqa: PLC0415

    return lambda path: pretty_midi.PrettyMIDI(str(path))


def _symusic() -> Callable[[Path], object]:
    import symusic  # noqa: PLC0415

    return symusic.Score  # type: ignore[no-any-return]


def _music21() -> Callable[[Path], object]:
    return _music21_tokens


def _music21_tokens(path: Path) -> list[str]:
    """The tokens of a file, read as in the notebooks."""
    from music21 import chord, converter, instrument, note  # noqa: PLC0415

    score = converter.parse(str(path), forceSource=True)  # not from its cache
    parts = instrument.partitionByInstrument(score)
    found = []
    for element in parts.parts[0].recurse() if parts else score.flat.notes:
        if isinstance(element, note.Note):
            found.append(str(element.pitch))
        elif isinstance(element, chord.Chord):
            found.append(".".join(str(number) for number in element.normalOrder))
    return found


READERS: dict[str, Callable[[], Callable[[Path], object]]] = {
    "mido": _mido,
    "pretty_midi": _pretty_midi,
    "symusic": _symusic,
    "music21": _music21,
}


def build(arguments: dict[str, Any]) -> MidiReader:
    """Build the program of a request."""
    return MidiReader(arguments["way"], Path(arguments["folder"]), arguments["workers"])
