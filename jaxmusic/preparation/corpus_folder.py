"""Replaces the corpus in a folder by a new one, safely against other processes and kills.

Beside a corpus NAME lie, while it is prepared: `.NAME.lock`; `.NAME.partial-*`, the work folder of
a process (its journal, and the new corpus until it is whole); `.NAME.replaced-*`, the old corpus
between two renames.
"""

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxmusic.corpus.corpus import (
    FILES,
    SOURCE_NAMES,
    Corpus,
    CorpusError,
    DamagedCorpusError,
    read_metadata,
)
from jaxmusic.corpus.ledger import LedgerRow
from jaxmusic.corpus.metadata import Source, read_metadata_header
from jaxmusic.corpus.parsed_files import ParsedFiles
from jaxmusic.corpus.writer import FileSequence, write_corpus
from jaxmusic.preparation.journal import Journal, JournalHeader
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import writing
from jaxmusic.storage.file_lock import FileLock, hold_lock, owner_in_brackets
from jaxmusic.storage.owned_folder import FolderKind, remove_known, why_foreign
from jaxmusic.storage.reading import file_digest, parse_json, read_lines
from jaxmusic.tokenizers.tokenizer import get_tokenizer

_WORK = {"journal.jsonl", "stream.u32", "corpus/", *(f"corpus/{name}" for name in FILES)}

Log = Callable[[str], None]  # takes a line for the user


class CorpusFolder:
    """The folder of a corpus whose lock this process holds."""

    def __init__(self, path: Path, made_of: Source, scheme: str, lock: FileLock) -> None:
        restore_corpus(path)
        self.path, self._made_of, self._scheme = path, made_of, scheme
        self._tokenizer_version = get_tokenizer(scheme).version
        self.lock = lock
        self._found = corpus_mark(path)
        self._work: Path | None = None

    def old_files(self, log: Log) -> ParsedFiles:
        """The files of the existing corpus; none if it is missing, of another kind or damaged.

        `log` gets the reason why a corpus isn't used.
        """
        metadata = read_metadata(self.path)
        if metadata is None and not (self.path.exists() and any(self.path.iterdir())):
            return ParsedFiles.none()
        if metadata is not None and (
            (metadata.scheme, metadata.tokeniser) != (self._scheme, self._tokenizer_version)
        ):
            return ParsedFiles.none()
        try:
            return ParsedFiles.of_corpus(Corpus.open_checked(self.path, log))
        except DamagedCorpusError as error:
            log(f"{error.fault}: it is made anew.")
        except CorpusError as error:
            log(f"{error} It is made anew.")
        return ParsedFiles.none()

    def begin_journal(self) -> Journal:
        """Begin a journal, with all that stopped preparations left. Raises WriteError."""
        left = list(_siblings(self.path, "partial", WORK_FOLDER))  # of stopped processes
        self._work = self.path.with_name(f".{self.path.name}.partial-{secrets.token_hex(4)}")
        with writing(self._work):
            self._work.mkdir()
        journal = Journal(self._work, self._made_of, self._scheme, self._tokenizer_version)
        for folder in left:
            journal.recover(folder)
            remove_known(folder, WORK_FOLDER)
        return journal

    def replace_corpus(self, files: FileSequence, *, deduplicate: bool = False) -> None:
        """Write the corpus of these files, and put it in the old one's place once it is whole.

        Raises LockError when another process took the lock over, CorpusError when the folder has
        changed since the lock was taken, ChangedFileError, WriteError.
        """
        assert self._work is not None, "a journal has begun"
        self.lock.check()
        new = self._work / "corpus"
        with writing(new):
            new.mkdir()
        write_corpus(
            new,
            files,
            scheme=self._scheme,
            tokenizer_version=self._tokenizer_version,
            made_of=self._made_of,
            deduplicate=deduplicate,
        )
        self.lock.check()
        replace_folder(new, self.path, made_of=self._made_of, mark=self._found)

    def remove_work(self) -> None:
        """Remove the journal: what was parsed is in the corpus, or useless."""
        if self._work is not None:
            remove_known(self._work, WORK_FOLDER)


@contextlib.contextmanager
def lock_corpus_folder(
    path: Path, *, made_of: Source, scheme: str, log: Log
) -> Iterator[CorpusFolder]:
    """Hold the lock of a corpus; `log` gets a line when another process has it.

    Raises CorpusError when the folder holds something else than a corpus of such files.
    """
    refuse_other_things(path, made_of=made_of)
    with hold_lock(
        lock_path(path),
        lambda owner: log(
            f"Another process is preparing {printable(path)}{owner_in_brackets(owner)}: waiting "
            "until it is done."
        ),
    ) as lock:
        yield CorpusFolder(path, made_of, scheme, lock)


def lock_path(folder: Path) -> Path:
    """The lock file of a corpus."""
    return folder.with_name(f".{folder.name}.lock")


def refuse_other_things(folder: Path, *, made_of: Source) -> None:
    """Raise CorpusError where a corpus of such files would replace anything but one of its kind."""
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"{printable(folder)} is a file: give another --corpus.")
    if why := why_foreign(folder, CORPUS_FOLDER):
        if read_metadata_header(folder / "corpus.json").is_of_run:
            raise CorpusError(
                f"{printable(folder)} holds a run, which a corpus would replace: give another "
                "--corpus."
            )
        raise CorpusError(
            f"{printable(folder)} can't be replaced by a corpus: {why}. Move that away, or give "
            "another --corpus."
        )
    metadata = read_metadata(folder)
    if metadata is not None and metadata.made_of != made_of:
        held, new = SOURCE_NAMES[metadata.made_of], SOURCE_NAMES[made_of]
        raise CorpusError(
            f"{printable(folder)} holds a corpus of {held}, which one of {new} would replace: "
            "give another --corpus, or remove that folder."
        )


def corpus_mark(folder: Path) -> str:
    """The digest of the corpus.json in a folder, which differs between corpora; empty if none."""
    with contextlib.suppress(OSError, ValueError):
        return file_digest(folder / "corpus.json")
    return ""


def replace_folder(new: Path, folder: Path, *, made_of: Source, mark: str) -> None:
    """Rename a new corpus into the place of the old one, if there is one.

    Raises CorpusError when the folder now holds other things, or another corpus than the one with
    this `corpus_mark`; WriteError.
    """
    refuse_other_things(folder, made_of=made_of)
    if corpus_mark(folder) != mark:
        raise CorpusError(
            f"{printable(folder)} was changed by another process while this one prepared it: start "
            "the same command again, which goes on from there."
        )
    replaced = folder.with_name(f".{folder.name}.replaced-{secrets.token_hex(4)}")
    with writing(folder):
        if folder.exists():
            folder.rename(replaced)
        try:
            new.rename(folder)
        except OSError:
            with contextlib.suppress(OSError):
                replaced.rename(folder)
            raise
    remove_known(replaced, CORPUS_FOLDER)


def restore_corpus(folder: Path) -> None:
    """Undo or finish a replacement that was stopped between its renames."""
    for replaced in _siblings(folder, "replaced", CORPUS_FOLDER):
        if folder.exists():
            remove_known(replaced, CORPUS_FOLDER)
        else:
            replaced.rename(folder)


def _siblings(folder: Path, name: str, kind: FolderKind) -> Iterator[Path]:
    is_named = re.compile(re.escape(f".{folder.name}.{name}-") + "[0-9a-f]{8}").fullmatch
    for path in sorted(folder.parent.iterdir()):
        if is_named(path.name) and not why_foreign(path, kind):
            yield path


def _is_ledger(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        for line in read_lines(path):
            LedgerRow.of_line(line)
            return True
    return False


def _is_journal(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        for line in read_lines(path):
            parse_json(line, JournalHeader)
            return True
    return False


CORPUS_FOLDER = FolderKind(
    "a corpus",
    FILES.__contains__,
    {
        "corpus.json": lambda path: read_metadata_header(path).is_of_corpus,
        "ledger.jsonl": _is_ledger,
    },
)
WORK_FOLDER = FolderKind(
    "a preparation that was stopped",
    _WORK.__contains__,
    {"journal.jsonl": _is_journal},
)
