"""A corpus out of the notebooks' `notes` file: the pickled list of all their tokens."""

import contextlib
import hashlib
from pathlib import Path

import numpy as np

from jaxmusic.corpus.corpus import Corpus, CorpusError, LedgerRow
from jaxmusic.errors import UserError
from jaxmusic.preparation.assembly import assemble
from jaxmusic.preparation.corpus_folder import (
    WORK_FOLDER,
    bring_back,
    content_mark,
    left_work_folders,
    lock_path,
    new_work_folder,
    refuse_other_things,
    replace_folder,
)
from jaxmusic.preparation.journal import Journal
from jaxmusic.preparation.pickled_texts import read_pickled_texts
from jaxmusic.preparation.prepare import TOKENISER, Tell, waiting_for
from jaxmusic.preparation.stream import Stream
from jaxmusic.storage.atomic import writing
from jaxmusic.storage.file_lock import hold_lock
from jaxmusic.storage.owned_folder import real_folder, remove_known
from jaxmusic.storage.reading import read_bytes
from jaxmusic.tokenizers.tokens import check_tokens

REMEDY = "Give the file that the notebooks keep (data/notes)."
LARGEST = 64 << 20  # bytes: a thousand times the notebooks' own file
SCHEME = "classic"


class NotesError(UserError):
    """A file that is no list of the notebooks' tokens."""


def prepare_notes(file: Path, corpus_dir: Path, *, tell: Tell = lambda line: None) -> Corpus:
    """Make the corpus of a `notes` file: one song, for it tells no borders of songs.

    The corpus takes an older one's place (of notes, not of MIDI files) only when it is whole; that
    of the same bytes stays as it is. `tell` gets a line when another process is at work on it.

    Raises NotesError when the file is anything but a pickled list of tokens, CorpusError when the
    folder holds something else.
    """
    data = _read(file)
    tokens = read_notes(file, data)
    corpus_dir = real_folder(corpus_dir)
    refuse_other_things(corpus_dir, made_of="notes")
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    row = LedgerRow(file.name, len(data), digest, len(tokens), "used")
    with hold_lock(
        lock_path(corpus_dir), lambda owner: tell(waiting_for(corpus_dir, owner))
    ) as lock:
        bring_back(corpus_dir)
        for left in left_work_folders(corpus_dir):
            remove_known(left, WORK_FOLDER)
        mark = content_mark(corpus_dir)
        old = _old_corpus(corpus_dir, row)
        if old is not None:
            return old
        work = new_work_folder(corpus_dir)
        new = work / "corpus"
        with writing(new):
            new.mkdir()
        journal = Journal(work, "notes", SCHEME, TOKENISER)
        with contextlib.closing(journal):
            journal.append([row], journal.numbers_of(tokens))
            stream = Stream((journal,), np.zeros(1, np.int8), np.zeros(1, np.int64))
            assemble(new, stream, scheme=SCHEME, tokeniser=TOKENISER, made_of="notes")
        lock.check()
        replace_folder(new, corpus_dir, made_of="notes", mark=mark)
        remove_known(work, WORK_FOLDER)
        return Corpus.open(corpus_dir)


def read_notes(file: Path, data: bytes) -> list[str]:
    """The tokens that the bytes of a `notes` file hold. Raises NotesError, naming the file."""
    try:
        tokens = read_pickled_texts(data)
    except ValueError as error:
        raise NotesError(f"--notes {file} can't be read: {error}. {REMEDY}") from error
    if not tokens:
        raise NotesError(f"--notes {file} holds an empty list. {REMEDY}")
    known: set[str] = set()
    for place, token in enumerate(tokens):
        if token not in known:
            try:
                check_tokens([token], SCHEME)
            except ValueError:
                raise NotesError(
                    f"--notes {file} holds {token!r:.40} as token {place:,}: neither the name of "
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


def _old_corpus(folder: Path, row: LedgerRow) -> Corpus | None:
    """The corpus that is there, if it is whole and of the same bytes."""
    try:
        corpus = Corpus.open_checked(folder)
        same = corpus.ledger == [row] and corpus.tokeniser == TOKENISER
    except CorpusError:
        return None
    return corpus if same else None
