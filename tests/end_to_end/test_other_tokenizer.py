"""A tokenizer of another distribution: from MIDI files to a trained network and new music.

No file of the package names it. An installed distribution names it as an entry point; here a folder
on the path has the files that pip would install.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.midi_files import write_song
from helpers.paths import ROOT

from jaxmusic.corpus.corpus import Corpus
from jaxmusic.preparation.parsing import Job
from jaxmusic.preparation.worker_pool import parse_files
from jaxmusic.tokenizers import tokenizer
from jaxmusic.tokenizers.tokenizer import read_tokens

MODULE = '''
import os
from pathlib import Path

from jaxmusic.midi.types import MidiError, Note
from jaxmusic.midi.writer import TICKS_PER_QUARTER
from jaxmusic.tokenizers.tokenizer import Tokenizer


class Toy(Tokenizer):
    """Each note of the first track with notes: its pitch and its length in eighths ("60:2")."""

    name = "toy"
    version = 1

    def encode(self, score):
        eighth = score.ticks_per_quarter // 2
        if processes := os.environ.get("TOY_PROCESSES"):
            Path(processes, str(os.getpid())).touch()
        for track in score.tracks:
            if track.has_note_on:
                lengths = (track.ends - track.starts) // eighth
                return [f"{p}:{n}" for p, n in zip(track.pitches, lengths, strict=True)]
        raise MidiError("it has no notes")

    def decode(self, tokens, *, step):
        now, notes = 0, []
        for pitch, eighths in map(self._parts, tokens):
            end = now + eighths * TICKS_PER_QUARTER // 2
            notes.append(Note(now, end, pitch))
            now = end
        return [notes]

    def transpose(self, token, semitones):
        pitch, eighths = self._parts(token)
        return f"{pitch + semitones}:{eighths}" if 0 <= pitch + semitones < 128 else None

    def check(self, token):
        self._parts(token)

    def _parts(self, token):
        pitch, colon, eighths = token.partition(":")
        if not (colon and pitch.isdecimal() and eighths.isdecimal() and int(pitch) < 128):
            raise ValueError(f"{token!r} is not PITCH:EIGHTHS")
        return int(pitch), int(eighths)


toy = Toy()
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the installed distribution, for this process and those that it starts."""
    site = tmp_path / "site"
    information = site / "toy_scheme-1.dist-info"
    information.mkdir(parents=True)
    (site / "toy_scheme.py").write_text(MODULE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-scheme\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[jaxmusic.tokenizers]\ntoy = toy_scheme:toy\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setattr(tokenizer, "TOKENIZERS", dict(tokenizer.TOKENIZERS))
    monkeypatch.delitem(sys.modules, "toy_scheme", raising=False)
    return site


def jaxmusic(*command: object) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "jaxmusic", *map(str, command)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_from_files_to_new_music(toy: Path, tmp_path: Path) -> None:
    """By the commands: each is a process that knows the tokenizer by its entry point alone."""
    songs, corpus_dir, run_dir = tmp_path / "songs", tmp_path / "corpus", tmp_path / "run"
    for number in range(3):
        write_song(songs / f"{number}.mid", 60, seed=number)
    jaxmusic("prepare", songs, "--corpus", corpus_dir, "--scheme", "toy")
    corpus = Corpus.open_checked(corpus_dir)
    assert (corpus.vocabulary.scheme, corpus.tokenizer_version) == ("toy", 1)
    assert corpus.vocabulary.decode(corpus.tokens) == [
        token for path in sorted(songs.iterdir()) for token in read_tokens(path, "toy")
    ]
    assert all(token.endswith(":2") for token in corpus.vocabulary.tokens)

    jaxmusic(
        "train", "quick", "--corpus", corpus_dir, "--scheme", "toy", "--run-dir", run_dir,
        "--window", 8, "--stride", 1, "--held-out", 0, "--hidden-size", 8, "--layers", 1,
        "--dense-size", 8, "--embedding-size", 4, "--max-steps", 4, "--transpose=-2..2",
        "--min-count", 2, "--no-compilation-cache",
    )  # fmt: skip
    new = tmp_path / "new.mid"
    jaxmusic("generate", run_dir, "--length", 20, "--out", new)
    tokens = read_tokens(new, "toy")
    assert len(tokens) == 20
    assert set(tokens) <= set(corpus.vocabulary.tokens)
    jaxmusic("generate", run_dir, "--length", 5, "--prime", songs / "0.mid", "--out", new)


def test_workers_know_it(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = tmp_path / "processes"
    processes.mkdir()
    monkeypatch.setenv("TOY_PROCESSES", str(processes))
    songs = [tmp_path / "songs" / f"{number}.mid" for number in range(4)]
    for number, path in enumerate(songs):
        write_song(path, 60, seed=number)
    # Files that are said to be large: all are for a worker.
    jobs = [Job(number, path.name, 2**21) for number, path in enumerate(songs)]
    found = {}
    for batch in parse_files(songs[0].parent, jobs, scheme="toy", workers=2, size=10**9):
        for job, result in zip(batch.jobs, batch.results, strict=True):
            found[job.path] = (result.tokens, result.reason)
    (process,) = processes.iterdir()
    assert process.name != str(os.getpid())
    assert found == {path.name: (len(read_tokens(path, "toy")), "") for path in songs}


def test_an_unknown_scheme_is_refused_by_its_name(tmp_path: Path) -> None:
    write_song(tmp_path / "songs" / "a.mid", 30)
    for command in (
        ["prepare", tmp_path / "songs", "--corpus", tmp_path / "corpus"],
        ["train", "--midi-dir", tmp_path / "songs", "--run-dir", tmp_path / "run"],
    ):
        result = subprocess.run(
            [sys.executable, "-m", "jaxmusic", *map(str, command), "--scheme", "toy"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 2
        assert result.stderr.startswith("Error: There is no token scheme 'toy' (known: classic, ")
    assert [path.name for path in tmp_path.iterdir()] == ["songs"]
