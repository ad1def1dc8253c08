"""From a folder of MIDI files to a corpus: parsed in parallel, never parsed twice."""

import contextlib
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from jaxmusic.config import MAX_SKIPPED_SHARE
from jaxmusic.corpus.corpus import (
    Corpus,
    CorpusError,
    DamagedCorpusError,
    is_deduplicated,
    read_about,
)
from jaxmusic.corpus.summary import kind_of
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
from jaxmusic.preparation.records import Records
from jaxmusic.preparation.scan import find_files
from jaxmusic.preparation.survey import Survey
from jaxmusic.preparation.worker_pool import parse_files
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import writing
from jaxmusic.storage.file_lock import FileLock, Owner, hold_lock, in_brackets
from jaxmusic.storage.owned_folder import real_folder, remove_known
from jaxmusic.tokenizers.tokens import check_scheme

# What tokens of one version of the tokeniser are worth to the next: raise it when a change
# alters any file's tokens, and every corpus is parsed anew.
TOKENISER = 2
SKIPPED_NAMED = 3  # where there are too many

Progress = Callable[[int, int], None]  # (files done, files in all)
Tell = Callable[[str], None]  # a line for the person who waits


def prepare(
    midi_dir: str | os.PathLike[str],
    corpus_dir: str | os.PathLike[str],
    *,
    scheme: str = "classic",
    workers: int | None = None,
    verify: bool = False,
    deduplicate: bool = False,
    max_skipped_share: float = MAX_SKIPPED_SHARE,
    progress: Progress | None = None,
    tell: Tell = lambda line: None,
) -> Corpus:
    """Make (or bring up to date) the corpus of all MIDI files below a folder.

    A file of the size and the time of change that the corpus knows is not opened again; one whose
    bytes turn out to be the same is not parsed again. `verify` has all bytes looked at. The new
    corpus takes the old one's place only when it is whole. An old one that doesn't match its
    digests is not built upon: all is parsed anew, and `tell` gets the reason.

    `workers` processes parse (default: one a core; fewer when there is little to do). What they
    make of the files is on disk at once, beside the corpus in .NAME.partial-*: stopped in any way,
    also by `kill -9`, preparing goes on from there when it is started again. Of several processes,
    on one host or several, that prepare one corpus at a time one does it, and the others wait for
    it. Where the lock between them fails, each still works in a folder of its own, and puts into
    place only what it checked, and only in the place of the corpus that it found.

    Of files with the same bytes `deduplicate` leaves out all but the first one.

    Raises CorpusError when there is no MIDI file below the folder, or none that gives tokens, or
    more than `max_skipped_share` of them were skipped: those that can't be read, not those that
    have no notes that count or are left out as duplicates. LockError, CorpusError or
    ChangedFileError when another process has taken over.
    """
    check_scheme(scheme)
    folder, target = Path(midi_dir), real_folder(corpus_dir)
    found = find_files(folder)
    refuse_other_things(target, made_of="midi")
    with (
        hold_lock(lock_path(target), lambda owner: tell(waiting_for(target, owner))) as lock,
        contextlib.ExitStack() as stack,
    ):
        if lock.waited:
            found = find_files(folder)
        if found.left_out:
            tell(found.left_out)
        bring_back(target)
        mark = content_mark(target)
        old = _old_records(target, scheme, tell)
        stack.callback(old.close)
        left = left_work_folders(target)
        work = new_work_folder(target)
        journal = Journal(work, "midi", scheme, TOKENISER)
        stack.callback(journal.close)
        for other in left:
            journal.adopt(other)
            remove_known(other, WORK_FOLDER)
        if len(journal):
            tell(f"Going on: {len(journal):,} files were read before a stop.")
        survey = Survey(folder, found, old, journal, verify=verify)
        _parse(survey, scheme, workers or _cores(), progress, lock)
        if not survey.has_tokens():
            remove_known(work, WORK_FOLDER)
            raise CorpusError(_nothing_usable(folder, survey))
        if survey.skipped > max_skipped_share * len(survey.paths):
            raise CorpusError(_too_many_skipped(folder, survey, max_skipped_share))
        if not survey.is_old() or is_deduplicated(target) != deduplicate:
            lock.check()
            new = work / "corpus"
            with writing(new):
                new.mkdir()
            assemble(new, survey, scheme=scheme, tokeniser=TOKENISER, deduplicate=deduplicate)
            lock.check()
            replace_folder(new, target, made_of="midi", mark=mark)
        remove_known(work, WORK_FOLDER)
        return Corpus.open(target)


def waiting_for(target: Path, owner: Owner | None) -> str:
    """What is told to a person when another process prepares the corpus."""
    by = in_brackets(owner)
    return f"Another process is preparing {printable(target)}{by}: waiting until it is done."


def default_corpus_dir(midi_dir: str | os.PathLike[str], scheme: str) -> Path:
    """Where train.py keeps the corpus of a folder: found again by the folder's full path."""
    folder = Path(midi_dir).resolve()
    mark = hashlib.blake2b(os.fsencode(folder), digest_size=4).hexdigest()
    return Path("corpora") / f"{folder.name}-{scheme}-{mark}"


def _parse(
    survey: Survey, scheme: str, workers: int, progress: Progress | None, lock: FileLock
) -> None:
    total = len(survey.paths)
    done = total - len(survey.to_parse)
    if progress is not None:
        progress(done, total)
    batches = parse_files(
        survey.folder, survey.jobs(), scheme=scheme, workers=workers, size=survey.size_to_parse
    )
    with contextlib.closing(batches):  # and its workers, whatever happens here
        for batch in batches:
            survey.take(batch)
            lock.check(quick=True)
            done += len(batch.jobs)
            if progress is not None:
                progress(done, total)


def _cores() -> int:
    """The cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _old_records(target: Path, scheme: str, tell: Tell) -> Records:
    """What the corpus holds; nothing if there is none, or another kind, or it is damaged."""
    about = read_about(target)
    if about is not None and (about.scheme, about.tokeniser) != (scheme, TOKENISER):
        return Records.none()
    if about is None and not (target.exists() and any(target.iterdir())):
        return Records.none()
    try:
        return Records.of(Corpus.open_checked(target, tell))
    except DamagedCorpusError as error:
        tell(f"{error.fault}: it is made anew.")
    except CorpusError as error:
        tell(f"{error} It is made anew.")
    return Records.none()


def _nothing_usable(folder: Path, survey: Survey) -> str:
    skipped, first = 0, ""
    for row in survey.ledger():
        if row.status == "skipped":
            skipped += 1
            first = first or f" The first one skipped: {printable(row.path)}: {row.reason}."
    return (
        f"None of the {len(survey.paths)} MIDI files in {printable(folder)} gives any tokens: "
        f"{skipped} can't be read, {len(survey.paths) - skipped} have no notes that count. Give "
        f"others.{first}"
    )


def _too_many_skipped(folder: Path, survey: Survey, share: float) -> str:
    reasons = Counter[str]()
    first: list[str] = []
    for row in survey.ledger():
        if row.status == "skipped":
            reasons[kind_of(row.reason)] += 1
            if len(first) < SKIPPED_NAMED:
                first.append(f"{printable(row.path)}: {row.reason}")
    ((reason, count),) = reasons.most_common(1)
    return (
        f"{survey.skipped:,} of the {len(survey.paths):,} MIDI files in {printable(folder)} were "
        f"skipped, more than --max-skipped-share {share:g} allows; most often ({count:,}): "
        f"{reason}; the first ones: {'; '.join(first)}. Mend them, or give a larger "
        "--max-skipped-share: what was read is kept, and not read again."
    )
