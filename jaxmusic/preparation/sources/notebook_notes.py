"""A corpus from the notebooks' `notes` file: the pickled list of all their tokens."""

import contextlib
import hashlib
from pathlib import Path

import numpy as np

from jaxmusic.corpus.corpus import Corpus, CorpusError
from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.corpus.writer import FileSequence
from jaxmusic.errors import UserError
from jaxmusic.preparation.corpus_folder import Log, lock_corpus_folder
from jaxmusic.preparation.sources.pickled_strings import read_pickled_strings
from jaxmusic.storage.owned_folder import real_folder
from jaxmusic.storage.reading import read_bytes
from jaxmusic.tokenizers.tokenizer import check_tokens, get_tokenizer

REMEDY = "Give the file that the notebooks keep (data/notes)."
LARGEST = 64 << 20  # bytes: a thousand times the notebooks' own file
SCHEME = "classic"


class NotesError(UserError):
    """A file that is not a list of the notebooks' tokens."""


def prepare_notes(file: Path, corpus_dir: Path, *, log: Log = lambda line: None) -> Corpus:
    """Make the corpus of a `notes` file. It is one song, since the file has no song boundaries.

    The corpus replaces an older one of notes (not of MIDI files) once it is whole; a corpus of the
    same bytes stays as it is. `log` gets a line when another process is preparing it.

    Raises NotesError when the file is anything but a pickled list of tokens, CorpusError when the
    folder holds something else.
    """
    data = _read(file)
    tokens = read_notes(file, data)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    row = LedgerRow(file.name, len(data), digest, len(tokens), "used")
    with lock_corpus_folder(
        real_folder(corpus_dir), made_of="notes", scheme=SCHEME, log=log
    ) as target:
        with contextlib.closing(target.begin_journal()) as journal:
            if not _is_corpus_of(target.path, row):
                journal.append([row], journal.ids_of(tokens))
                last = np.array([len(journal) - 1], np.int64)
                target.replace_corpus(FileSequence((journal,), np.zeros(1, np.int8), last))
        target.remove_work()
        return Corpus.open(target.path)


def read_notes(file: Path, data: bytes) -> list[str]:
    """The tokens in the bytes of a `notes` file. Raises NotesError, naming the file."""
    try:
        tokens = read_pickled_strings(data)
    except ValueError as error:
        raise NotesError(f"--notes {file} can't be read: {error}. {REMEDY}") from error
    if not tokens:
        raise NotesError(f"--notes {file} holds an empty list. {REMEDY}")
    known: set[str] = set()
    for index, token in enumerate(tokens):
        if token not in known:
            try:
                check_tokens([token], SCHEME)
            except ValueError:
                raise NotesError(
                    f"--notes {file} holds {token!r:.40} as token {index:,}: neither the name of "
                    "a pitch (as E5, B-4) nor a chord in normal order (as 4.9). " + REMEDY
                ) from None
            known.add(token)
    return tokens


def _read(file: Path) -> bytes:
    if file.is_dir():
        raise NotesError(f"--notes {file} is a folder. {REMEDY}")
    if not file.exists():
        raise NotesError(f"--notes {file}: there is no such file. {REMEDY}")
    try:
        return read_bytes(file, most=LARGEST)
    except ValueError as error:
        raise NotesError(f"--notes {file} can't be read: {error}. {REMEDY}") from error


def _is_corpus_of(folder: Path, row: LedgerRow) -> bool:
    """Whether the folder has a whole corpus of the same bytes."""
    try:
        corpus = Corpus.open_checked(folder)
        return corpus.ledger == [row] and corpus.tokenizer_version == get_tokenizer(SCHEME).version
    except CorpusError:
        return False
