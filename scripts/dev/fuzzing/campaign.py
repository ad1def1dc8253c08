"""Parses bad files as preparing does, and counts the results."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fuzzing.files import BadFile, make_file
from fuzzing.measuring import Cost, MeasuringReader, read_costs, worker_program
from jaxmusic.corpus.summary import without_numbers
from jaxmusic.preparation.parsing import Batch, FileResult, Job
from jaxmusic.preparation.worker_pool import parse_files
from jaxmusic.storage.atomic import write_atomic
from jaxmusic.tokenizers.pitch_names import pitches_of

PORTION = 500  # files made, parsed and removed at a time
MOST_SECONDS, MOST_MEGABYTES = 2.0, 500.0
# Reasons that are no file's own: the reader failed, or its process did.
FAULTS = ("a fault of the reader", "the process that read it", "reading it took", "it changed")
REASONS_TOLD = 12


@dataclass
class Row:
    """Results of one kind of file."""

    files: int = 0
    tokens: int = 0  # files that gave any
    empty: int = 0  # files without notes that count
    refused: int = 0
    seconds: float = 0.0  # the most
    megabytes: float = 0.0  # the most


@dataclass
class Outcome:
    """Results of all files."""

    rows: dict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    reasons: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)  # promises: what, by which file, kept where


class Campaign:
    """Numbered bad files of one seed, and the guarantees to check on each."""

    def __init__(self, songs: Sequence[bytes], seed: int, workers: int, keep: Path) -> None:
        """Files for which a guarantee is broken are kept in a folder."""
        self._songs, self._seed, self._workers, self._keep = songs, seed, workers, keep
        self.outcome = Outcome()
        self._words: set[str] = set()

    def run(self, numbers: Sequence[int], log: str, progress: Callable[[int], None]) -> None:
        """Parse these files. Costs are logged to files whose names begin with `log`.

        `progress` gets the number of files done.
        """
        for start in range(0, len(numbers), PORTION):
            portion = numbers[start : start + PORTION]
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                self._send(Path(folder), portion, log)
            progress(start + len(portion))

    def _send(self, folder: Path, numbers: Sequence[int], log: str) -> None:
        made: dict[int, BadFile] = {}
        jobs = []
        for number in numbers:
            file = made[number] = make_file(self._songs, self._seed, number)
            path = f"{number}.mid"
            (folder / path).write_bytes(file.data)
            jobs.append(Job(number, path, len(file.data)))
            made[number] = file._replace(data=b"")  # on disk it is enough
        results: dict[int, FileResult] = {}
        size = 2**40  # as of so many files that all workers pay
        batches = parse_files(
            folder,
            jobs,
            scheme="classic",
            workers=self._workers,
            size=size,
            make_reader=partial(MeasuringReader, log=log),
            worker=worker_program(log),
        )
        for batch in batches:
            self._check_batch(batch, folder)
            for job, result in zip(batch.jobs, batch.results, strict=True):
                if job.number in results:
                    self._break(job.number, folder, "it has two results")
                results[job.number] = result
        costs = read_costs(log)
        for number, file in made.items():
            if number in results:
                cost = costs.get(number, Cost(0, 0))
                self._count(number, file.kind, results[number], cost, folder)
            else:
                self._break(number, folder, "it has no result")

    def _check_batch(self, batch: Batch, folder: Path) -> None:
        first = batch.jobs[0].number
        if sum(file.tokens for file in batch.results) != len(batch.ids):
            self._break(first, folder, "its portion has another number of tokens than its files")
        for word in set(batch.new_tokens) - self._words:
            self._words.add(word)
            try:
                pitches_of(word)
            except ValueError:
                self._break(first, folder, f"in its portion is {word!r}, which is no token")

    def _count(self, number: int, kind: str, result: FileResult, cost: Cost, folder: Path) -> None:
        for name in (kind, "all"):
            row = self.outcome.rows[name]
            row.files += 1
            row.refused += bool(result.reason)
            row.tokens += result.tokens > 0
            row.empty += not result.reason and not result.tokens
            row.seconds = max(row.seconds, cost.seconds)
            row.megabytes = max(row.megabytes, cost.megabytes)
        if result.reason:
            self.outcome.reasons[without_numbers(result.reason)] += 1
        if result.reason.startswith(FAULTS):
            self._break(number, folder, result.reason)
        if result.reason and result.tokens:
            self._break(number, folder, "it has tokens and a reason why it has none")
        if cost.seconds > MOST_SECONDS:
            self._break(number, folder, f"it took {cost.seconds:.2f} s")
        if cost.megabytes > MOST_MEGABYTES:
            self._break(number, folder, f"it took {cost.megabytes:.0f} MB")

    def _break(self, number: int, folder: Path, what: str) -> None:
        self._keep.mkdir(parents=True, exist_ok=True)
        kept = self._keep / f"{self._seed}-{number}.mid"
        write_atomic(kept, (folder / f"{number}.mid").read_bytes())
        self.outcome.broken.append(f"seed {self._seed}, file {number}: {what} ({kept})")


def table(outcome: Outcome) -> list[str]:
    """The results by kind of file, and the most frequent reasons, as Markdown."""
    rows = sorted(outcome.rows.items(), key=lambda item: (item[0] == "all", item[0]))
    return [
        "| how it was made | files | with tokens | without notes | refused | most s | most MB |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {row.files:,} | {row.tokens:,} | {row.empty:,} | {row.refused:,} "
            f"| {row.seconds:.2f} | {row.megabytes:.0f} |"
            for name, row in rows
        ),
        "",
        "| reason | files |",
        "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in outcome.reasons.most_common(REASONS_TOLD)),
    ]
