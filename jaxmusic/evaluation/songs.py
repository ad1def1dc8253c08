"""The songs that a run is evaluated on: those it was trained on, and those held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jaxmusic.config import Config
from jaxmusic.corpus.corpus import Corpus, CorpusError
from jaxmusic.data.windows import held_out_songs
from jaxmusic.evaluation.music.notes import NoteArray, gather_notes
from jaxmusic.preparation.prepare import default_corpus_dir, prepare
from jaxmusic.run import Run
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.run_dir.origin import load_origin
from jaxmusic.runtime.printable import printable
from jaxmusic.tokenizers.tokenizer import get_tokenizer
from jaxmusic.tokenizers.vocabulary import RARE, Vocabulary

Log = Callable[[str], None]
# Kinds of tokens that move on in time; a scheme with none of them has no rhythm.
_TIMES = {"wait", "step"}
MOST_TOKENS = 4_000_000  # of songs in several keys: n-grams of more take long to count
STEP = 0.5  # quarters from token to token in schemes without times, as generate.py writes them


@dataclass(frozen=True)
class Song:
    """A song of a corpus, or a generated piece."""

    name: str
    tokens: list[str]
    scheme: str

    @cached_property
    def notes(self) -> NoteArray:
        """Its notes."""
        return gather_notes(get_tokenizer(self.scheme).decode(self.tokens, step=STEP))


@dataclass(frozen=True)
class RunSongs:
    """Songs to evaluate a run on, at most as many of each as were asked for."""

    training: list[Song]
    held_out: list[Song]


def has_times(vocabulary: Vocabulary) -> bool:
    """Whether the tokens of a vocabulary have a rhythm."""
    return not _TIMES.isdisjoint(token_kinds(vocabulary))


def token_kinds(vocabulary: Vocabulary) -> list[str]:
    """The kind of each token of a vocabulary, by id."""
    tokenizer = get_tokenizer(vocabulary.scheme)
    return ["rare" if token == RARE else tokenizer.kind(token) for token in vocabulary.tokens]


def load_songs(
    run: Run,
    *,
    corpus: str | None,
    midi_dir: str | None,
    held_out_dir: str | None,
    most: int,
    log: Log,
) -> RunSongs:
    """Open the songs of a run, split as the run's settings split them.

    Args:
        corpus: a corpus, instead of the one that the run was trained on.
        midi_dir: or a folder of MIDI files; it is prepared first.
        held_out_dir: a folder of MIDI files that are all held out, instead of the run's own.
        most: songs of each part; of more, so many are chosen evenly.

    Raises CorpusError when a corpus is missing, damaged, or of another scheme.
    """
    opened = _run_corpus(run, corpus, midi_dir, log)
    data = run.config.data
    held = np.zeros(len(opened.offsets) - 1, bool)
    if data.held_out > 0 or data.held_out_match is not None:
        held = held_out_songs(opened.songs, data, seed=run.config.train.seed)
    training = _songs(opened, np.flatnonzero(~held), most)
    if held_out_dir is not None:
        others = _prepared(run.config, held_out_dir, log)
        held_out = _songs(others, np.arange(len(others.offsets) - 1), most)
    else:
        held_out = _songs(opened, np.flatnonzero(held), most)
    for words, part, total in (
        ("training", training, int((~held).sum())),
        ("held-out", held_out, len(held_out) if held_out_dir is not None else int(held.sum())),
    ):
        if len(part) < total:
            log(f"Of {total:,} {words} songs {len(part):,} are used (--songs).")
    if not held_out:
        log(
            "This run held no songs out, so nothing here shows whether it has learned or "
            "memorised: give songs that it has never seen with --held-out-dir, or train with "
            "--held-out 0.1."
        )
    return RunSongs(training, held_out)


def known_ids(song: Song, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """The run's ids of a song's tokens.

    Unknown ones become RARE; in a vocabulary without RARE they are left out.
    """
    if RARE in vocabulary:
        known = [token if token in vocabulary else RARE for token in song.tokens]
    else:
        known = [token for token in song.tokens if token in vocabulary]
    return vocabulary.encode(known).astype(np.int64)


def in_training_keys(
    songs: Sequence[npt.NDArray[np.int64]], run: Run
) -> list[npt.NDArray[np.int64]]:
    """Songs (ids of the run) in each key that the run was trained in, by `--transpose`.

    A song is left out in keys in which it leaves the vocabulary, and keys far from the original
    ones once there are MOST_TOKENS tokens.
    """
    low, high = run.config.data.transpose_range or (0, 0)
    vocabulary = run.vocabulary
    found = list(songs)
    total = size = sum(map(len, songs))
    for shift in sorted(set(range(low, high + 1)) - {0}, key=abs):
        if total + size > MOST_TOKENS:
            break
        table = _transposed(vocabulary, shift)
        moved = [table[song] for song in songs]
        moved = [song for song in moved if (song >= 0).all()]
        found += moved
        total += sum(map(len, moved))
    return found


def _transposed(vocabulary: Vocabulary, shift: int) -> npt.NDArray[np.int64]:
    """The id of each token, so many semitones higher; -1 where the vocabulary lacks it."""
    tokenizer = get_tokenizer(vocabulary.scheme)
    moved = [
        token if token == RARE else tokenizer.transpose(token, shift) for token in vocabulary.tokens
    ]
    ids = [
        vocabulary.id_of(token) if token is not None and token in vocabulary else -1
        for token in moved
    ]
    return np.array(ids, np.int64)


def _run_corpus(run: Run, corpus: str | None, midi_dir: str | None, log: Log) -> Corpus:
    """The corpus named by a flag, else the run's own; `log` gets a line if its digest differs."""
    origin = load_origin(RunDir(run.path))
    config = run.config.data
    if corpus is not None:
        opened = Corpus.open_checked(corpus, log)
    elif midi_dir is not None:
        opened = _prepared(run.config, midi_dir, log)
    elif (Path(origin.path) / "corpus.json").exists():
        opened = Corpus.open_checked(origin.path, log)
    elif config.corpus is None and Path(config.midi_dir).is_dir():
        opened = _prepared(run.config, config.midi_dir, log)
    else:
        raise CorpusError(
            f"The corpus that {run.path} was trained on is not in {printable(origin.path)}: give "
            "it with --corpus DIR, or its songs with --midi-dir DIR."
        )
    if opened.vocabulary.scheme != config.scheme:
        raise CorpusError(
            f"The corpus {opened.path} is of the scheme {opened.vocabulary.scheme}, and the run "
            f"{run.path} of {config.scheme}: give a corpus of that scheme."
        )
    if opened.digest != origin.digest:
        log(
            f"The corpus {printable(opened.path)} is not the one that the run was trained on: "
            "songs that count as held out here may have been trained on."
        )
    return opened


def _prepared(config: Config, midi_dir: str, log: Log) -> Corpus:
    scheme = config.data.scheme
    folder = default_corpus_dir(midi_dir, scheme)
    return prepare(midi_dir, folder, scheme=scheme, workers=config.run.workers, log=log)


def _songs(corpus: Corpus, chosen: npt.NDArray[np.int64], most: int) -> list[Song]:
    count = min(most, len(chosen))
    names = corpus.songs
    chosen = chosen[(np.arange(count) * len(chosen)) // max(count, 1)]
    return [
        Song(
            names[index],
            corpus.vocabulary.decode(
                np.asarray(corpus.tokens[corpus.offsets[index] : corpus.offsets[index + 1]])
            ),
            corpus.vocabulary.scheme,
        )
        for index in chosen.tolist()
    ]
