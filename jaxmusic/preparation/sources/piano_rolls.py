"""Corpora from the public piano-roll sets: MATLAB files of Boulanger-Lewandowski et al. (2012).

The sets (JSB chorales, Nottingham, MuseData, Piano-midi.de) have fixed parts for training,
validation and test. A corpus has the first two, so that no training can see a test song.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.corpus import Corpus, CorpusError
from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.corpus.writer import FileSequence
from jaxmusic.errors import UserError
from jaxmusic.preparation.corpus_folder import Log, lock_corpus_folder
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.owned_folder import real_folder
from jaxmusic.tokenizers.piano_roll import LOWEST, PianoRollTokenizer, tokens_of_rows

Part = Literal["train", "valid", "test"]
Roll = npt.NDArray[np.bool_]  # (rows, 88): which keys sound; column 0 is MIDI note 21

KEYS = 88
LARGEST = 256 << 20  # bytes of a file; the largest of the four sets has 3 MB
MOST_ROWS = 1 << 27  # of all songs of a part
SCHEME = PianoRollTokenizer.name


class PianoRollError(UserError):
    """A file that is not a set of piano rolls."""


def read_piano_rolls(file: Path, part: Part) -> list[Roll]:
    """Read the songs of one part of a set.

    The file has the variables traindata, validdata and testdata: cell arrays of matrices
    (rows, 88) of 0 and 1. Raises PianoRollError, naming the file, for any other.
    """
    # Here, since it takes as long as all else that preparing imports.
    from scipy.io import loadmat  # noqa: PLC0415

    name = f"{part}data"
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST:,} bytes")
        variables = loadmat(file, variable_names=[name], chars_as_strings=False)
    except OSError as error:
        raise _unreadable(file, str(error.strerror or error)) from error
    except Exception as error:  # for damaged files SciPy raises any kind, even UnboundLocalError
        raise _unreadable(file, str(error) or type(error).__name__) from error
    if name not in variables:
        raise _unreadable(file, f"it has no variable {name}")
    cells = np.asarray(variables[name]).ravel()
    rolls = [_to_roll(file, name, number, cell) for number, cell in enumerate(cells.tolist())]
    if not rolls:
        raise _unreadable(file, f"{name} is empty")
    if sum(len(roll) for roll in rolls) > MOST_ROWS:
        raise _unreadable(file, f"{name} has more than {MOST_ROWS:,} rows")
    return rolls


def _to_roll(file: Path, name: str, number: int, cell: object) -> Roll:
    array = np.asarray(cell)
    if array.ndim != 2 or array.shape[1] != KEYS or array.dtype.kind not in "buif":
        raise _unreadable(
            file, f"song {number + 1} of {name} is {array.dtype}{array.shape}, not (rows, {KEYS})"
        )
    if not np.isin(array, (0, 1)).all():
        raise _unreadable(file, f"song {number + 1} of {name} has other values than 0 and 1")
    return array.astype(bool)


def _unreadable(file: Path, reason: str) -> PianoRollError:
    return PianoRollError(
        f"--piano-rolls {printable(file)} can't be read: {reason}. Give a MATLAB file with "
        f"traindata, validdata and testdata, each of matrices of {KEYS} columns."
    )


def roll_tokens(roll: Roll) -> list[str]:
    """The tokens of a song in the scheme `piano-roll`."""
    return tokens_of_rows(np.flatnonzero(row) + LOWEST for row in roll)


def prepare_piano_rolls(file: Path, corpus_dir: Path, *, log: Log = lambda line: None) -> Corpus:
    """Make the corpus of a set: the songs `train/0001`, ..., then `valid/0001`, ....

    It replaces an older corpus of piano rolls once it is whole; a corpus of the same songs stays as
    it is. `log` gets a line when another process is preparing it.

    Raises PianoRollError when the file is not such a set, CorpusError when the folder holds
    something else.
    """
    rows: list[LedgerRow] = []
    tokens: list[str] = []
    parts: Sequence[Part] = ("train", "valid")
    for part in parts:
        for number, roll in enumerate(read_piano_rolls(file, part), start=1):
            song = roll_tokens(roll)
            digest = hashlib.blake2b(roll.tobytes(), digest_size=16).hexdigest()
            path = f"{part}/{number:04}"
            rows.append(LedgerRow(path, roll.nbytes, digest, len(song), "used"))
            tokens += song
    with lock_corpus_folder(
        real_folder(corpus_dir), made_of="piano_rolls", scheme=SCHEME, log=log
    ) as target:
        with contextlib.closing(target.begin_journal()) as journal:
            if not _is_corpus_of(target.path, rows):
                journal.append(rows, journal.ids_of(tokens))
                last = np.arange(len(journal) - len(rows), len(journal))
                target.replace_corpus(FileSequence((journal,), np.zeros(len(rows), np.int8), last))
        target.remove_work()
        return Corpus.open(target.path)


def _is_corpus_of(folder: Path, rows: list[LedgerRow]) -> bool:
    """Whether the folder has a whole corpus of the same songs."""
    try:
        corpus = Corpus.open_checked(folder)
        return corpus.ledger == rows and corpus.tokenizer_version == PianoRollTokenizer.version
    except CorpusError:
        return False
