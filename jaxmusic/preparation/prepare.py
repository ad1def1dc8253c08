"""From a folder of MIDI files to a corpus: parsed in parallel, never parsed twice."""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from jaxmusic.config import MAX_SKIPPED_SHARE
from jaxmusic.corpus.corpus import Corpus, CorpusError, is_deduplicated
from jaxmusic.corpus.summary import without_numbers
from jaxmusic.preparation.corpus_folder import Log, lock_corpus_folder
from jaxmusic.preparation.parse_cache import ParseCache
from jaxmusic.preparation.scan import find_files
from jaxmusic.preparation.worker_pool import parse_files
from jaxmusic.runtime.limits import available_cores
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.file_lock import FileLock
from jaxmusic.storage.owned_folder import real_folder
from jaxmusic.tokenizers.tokenizer import get_tokenizer

NAMED_SKIPPED = 3  # files in the error when too many were skipped

Progress = Callable[[int, int], None]  # (files done, files in all)


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
    log: Log = lambda line: None,
) -> Corpus:
    """Make or update the corpus of all MIDI files below a folder.

    A file whose size and time of change are those in the old corpus is not opened; a file whose
    bytes are the same is not parsed again. `verify` reads all bytes. The new corpus replaces the
    old one only when it is whole. An old one that doesn't match its digests is not used: all files
    are parsed anew, and `log` gets the reason.

    `workers` processes parse (default: one per core; fewer when there is little to do). Results are
    on disk at once, beside the corpus in .NAME.partial-*: after a stop of any kind, also by
    `kill -9`, the next call goes on from there. Of several processes, on one host or several, that
    prepare one corpus, one works and the others wait for it. Where the lock between them fails,
    each works in its own folder, and replaces only the corpus that it found, by a checked one.

    `deduplicate` leaves out all but the first of the files with the same bytes.

    Raises CorpusError when there is no MIDI file below the folder, or none that gives tokens, or
    more than `max_skipped_share` of them were skipped (can't be read; empty files and duplicates
    don't count). Raises LockError, CorpusError or ChangedFileError when another process took over.
    """
    get_tokenizer(scheme)
    folder, corpus_dir = Path(midi_dir), real_folder(corpus_dir)
    found = find_files(folder)
    with (
        lock_corpus_folder(corpus_dir, made_of="midi", scheme=scheme, log=log) as target,
        contextlib.ExitStack() as stack,
    ):
        if target.lock.waited:
            found = find_files(folder)
        if found.left_out:
            log(found.left_out)
        old = target.old_files(log)
        stack.callback(old.close)
        journal = target.begin_journal()
        stack.callback(journal.close)
        if len(journal):
            log(f"Going on: {len(journal):,} files were read before a stop.")
        cache = ParseCache(folder, found, old, journal, verify=verify)
        _parse(cache, scheme, workers or available_cores(), progress, target.lock)
        if not cache.has_tokens():
            target.remove_work()
            raise CorpusError(_nothing_usable(folder, cache))
        if cache.skipped > max_skipped_share * len(cache.paths):
            raise CorpusError(_too_many_skipped(folder, cache, max_skipped_share))
        if not cache.equals_old_corpus() or is_deduplicated(target.path) != deduplicate:
            target.replace_corpus(cache, deduplicate=deduplicate)
        target.remove_work()
        return Corpus.open(target.path)


def default_corpus_dir(midi_dir: str | os.PathLike[str], scheme: str) -> Path:
    """Where train.py keeps the corpus of a folder: found again by the folder's full path."""
    folder = Path(midi_dir).resolve()
    mark = hashlib.blake2b(os.fsencode(folder), digest_size=4).hexdigest()
    return Path("corpora") / f"{folder.name}-{scheme}-{mark}"


def _parse(
    cache: ParseCache, scheme: str, workers: int, progress: Progress | None, lock: FileLock
) -> None:
    total = len(cache.paths)
    done = total - len(cache.to_parse)
    if progress is not None:
        progress(done, total)
    batches = parse_files(
        cache.folder, cache.jobs(), scheme=scheme, workers=workers, size=cache.size_to_parse
    )
    with contextlib.closing(batches):  # and its workers, whatever happens here
        for batch in batches:
            cache.add(batch)
            lock.check(quick=True)
            done += len(batch.jobs)
            if progress is not None:
                progress(done, total)


def _nothing_usable(folder: Path, cache: ParseCache) -> str:
    skipped, first = 0, ""
    for row in cache.ledger():
        if row.status == "skipped":
            skipped += 1
            first = first or f" The first one skipped: {printable(row.path)}: {row.reason}."
    return (
        f"None of the {len(cache.paths)} MIDI files in {printable(folder)} gives any tokens: "
        f"{skipped} can't be read, {len(cache.paths) - skipped} have no notes that count. Give "
        f"others.{first}"
    )


def _too_many_skipped(folder: Path, cache: ParseCache, share: float) -> str:
    reasons = Counter[str]()
    first: list[str] = []
    for row in cache.ledger():
        if row.status == "skipped":
            reasons[without_numbers(row.reason)] += 1
            if len(first) < NAMED_SKIPPED:
                first.append(f"{printable(row.path)}: {row.reason}")
    ((reason, count),) = reasons.most_common(1)
    return (
        f"{cache.skipped:,} of the {len(cache.paths):,} MIDI files in {printable(folder)} were "
        f"skipped, more than --max-skipped-share {share:g} allows; most often ({count:,}): "
        f"{reason}; the first ones: {'; '.join(first)}. Fix them, or give a larger "
        "--max-skipped-share: what was read is kept, and not read again."
    )
