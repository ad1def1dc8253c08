"""Where a corpus is put: what is in its place and beside it, and how a new one takes the old's."""

import contextlib
import re
import secrets
from pathlib import Path

from jaxmusic.corpus.corpus import (
    FILES,
    SOURCES,
    CorpusError,
    LedgerRow,
    read_about,
)
from jaxmusic.corpus.corpus_file import Source, read_header
from jaxmusic.preparation.journal import JournalHeader
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import writing
from jaxmusic.storage.owned_folder import FolderKind, remove_known, why_not_ours
from jaxmusic.storage.reading import file_digest, parse_json, read_lines

_WORK = {"journal.jsonl", "stream.u32", "corpus/", *(f"corpus/{name}" for name in FILES)}


def refuse_other_things(target: Path, *, made_of: Source) -> None:
    """Raise CorpusError where a corpus, of MIDI files or of notes, would replace something else."""
    if target.exists() and not target.is_dir():
        raise CorpusError(f"{printable(target)} is a file: give another --corpus.")
    if why := why_not_ours(target, CORPUS_FOLDER):
        if _is_run(target):
            raise CorpusError(
                f"{printable(target)} holds a run, which a corpus would replace: give another "
                "--corpus."
            )
        raise CorpusError(
            f"{printable(target)} can't be replaced by a corpus: {why}. Move that away, or give "
            "another --corpus."
        )
    about = read_about(target)
    if about is not None and (theirs := about.made_of) != made_of:
        held, kinds = SOURCES[theirs], SOURCES[made_of]
        raise CorpusError(
            f"{printable(target)} holds a corpus of {held}, which one of {kinds} would replace: "
            "give another --corpus, or remove that folder."
        )


def lock_path(target: Path) -> Path:
    """The lock that is held to prepare a corpus (file_lock.py)."""
    return target.with_name(f".{target.name}.lock")


def new_work_folder(target: Path) -> Path:
    """Make a folder to prepare a corpus in, before it takes its place: of this process alone.

    Raises WriteError.
    """
    work = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    with writing(work):
        work.mkdir()
    return work


def left_work_folders(target: Path) -> list[Path]:
    """Work folders of processes that were stopped while they prepared a corpus."""
    is_work = re.compile(re.escape(f".{target.name}.partial-") + "[0-9a-f]{8}").fullmatch
    return [
        path
        for path in sorted(target.parent.iterdir())
        if is_work(path.name) and not why_not_ours(path, WORK_FOLDER)
    ]


def content_mark(target: Path) -> str:
    """What tells a corpus from any other, or from none, in the same place."""
    with contextlib.suppress(OSError, ValueError):
        return file_digest(target / "corpus.json")
    return ""


def replace_folder(new: Path, target: Path, *, made_of: Source, mark: str) -> None:
    """Put the new folder where the old one is, if there is one.

    Raises CorpusError when that has come to hold other things meanwhile, or another corpus than
    the one with this `content_mark`; WriteError.
    """
    refuse_other_things(target, made_of=made_of)
    if content_mark(target) != mark:
        raise CorpusError(
            f"{printable(target)} was changed by another process while this one prepared it: start "
            "the same command again, which goes on from there."
        )
    retired = target.with_name(f".{target.name}.replaced-{secrets.token_hex(4)}")
    with writing(target):
        if target.exists():
            target.rename(retired)
        try:
            new.rename(target)
        except OSError:
            with contextlib.suppress(OSError):
                retired.rename(target)
            raise
    remove_known(retired, CORPUS_FOLDER)


def bring_back(target: Path) -> None:
    """Undo or finish a replacement that was stopped half way."""
    is_retired = re.compile(re.escape(f".{target.name}.replaced-") + "[0-9a-f]{8}").fullmatch
    for retired in sorted(target.parent.iterdir()):
        if is_retired(retired.name) and not why_not_ours(retired, CORPUS_FOLDER):
            if target.exists():
                remove_known(retired, CORPUS_FOLDER)
            else:
                retired.rename(target)


def _is_run(folder: Path) -> bool:
    header = read_header(folder / "corpus.json")
    return header is not None and header.is_of_run


def _is_about_corpus(path: Path) -> bool:
    """Whether a corpus.json is that of a corpus, of any version."""
    header = read_header(path)
    return header is not None and header.is_of_corpus


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
    {"corpus.json": _is_about_corpus, "ledger.jsonl": _is_ledger},
)
WORK_FOLDER = FolderKind(
    "a preparation that was stopped",
    _WORK.__contains__,
    {"journal.jsonl": _is_journal},
)
