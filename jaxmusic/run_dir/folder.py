"""The directory of a run: its files, and the lock that one training at a time holds."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from jaxmusic.config import Config, ConfigError
from jaxmusic.corpus.corpus import read_metadata
from jaxmusic.corpus.metadata import read_metadata_header
from jaxmusic.errors import UserError, reason_of
from jaxmusic.run_dir.config_file import load_config
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.file_lock import (
    LEASE,
    FileLock,
    Owner,
    hold_lock,
    is_lock_file,
    owner_in_brackets,
)
from jaxmusic.storage.owned_folder import FolderKind, real_folder, why_foreign


class RunError(UserError):
    """A folder that isn't a run, or a run that can't be used."""


@dataclass(frozen=True)
class RunDir:
    """Paths of the files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """All settings, as JSON."""
        return self.path / "config.json"

    @property
    def corpus(self) -> Path:
        """What the run is trained on: path and digest of its corpus, as JSON."""
        return self.path / "corpus.json"

    @property
    def vocabulary(self) -> Path:
        """The tokens and their ids, as JSON."""
        return self.path / "vocabulary.json"

    @property
    def primers(self) -> Path:
        """Windows of the corpus that generating can start from: (windows, window) token ids."""
        return self.path / "primes.npy"

    @property
    def metrics(self) -> Path:
        """A row of JSON for every few steps and every epoch."""
        return self.path / "metrics.jsonl"

    @property
    def environment(self) -> Path:
        """What the run was computed with, as JSON."""
        return self.path / "environment.json"

    @property
    def checkpoints(self) -> Path:
        """A folder for each checkpoint."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Generated music."""
        return self.path / "samples"

    @property
    def lock(self) -> Path:
        """Held by the training that is running here (file_lock.py)."""
        return self.path / ".lock"

    def settings(self) -> Config:
        """Load the settings. Raises RunError, not ConfigError: the flags aren't wrong."""
        try:
            return load_config(self.config)
        except ConfigError as error:
            raise RunError(str(error)) from error

    def check(self) -> None:
        """Raise RunError where training would write among foreign files.

        A folder with config.json is a run; other files in it are left alone. Otherwise it must be
        new, empty, or a run that was interrupted while it started.
        """
        if self.config.exists():
            self.settings()
            return
        folder = real_folder(self.path)
        why = why_foreign(folder, STARTED_RUN) if folder.is_dir() else ""
        if not why:
            return
        if read_metadata(folder) is not None:
            why = "it holds a corpus"
        elif read_metadata_header(self.corpus).is_of_run:
            raise RunError(
                f"The run {self.path} is damaged: config.json is missing (half-copied?), and {why}."
                " Copy it again, whole, or train anew in another folder."
            )
        raise RunError(
            f"A run can't begin in --run-dir {printable(self.path)}: {why}. Give another folder, "
            "one that is empty or not there."
        )

    def acquire(
        self, log: Callable[[str], None] = lambda line: None
    ) -> AbstractContextManager[FileLock]:
        """Create the folder and hold its lock, for one training at a time.

        `log` gets a line before a wait for a heartbeat of a training on another host, which may
        have been killed. Raises RunError when another training holds the lock, or the folder
        can't be created or holds other files.
        """

        def refusal(owner: Owner | None) -> RunError:
            return RunError(
                f"Another training is running in --run-dir {self.path}{owner_in_brackets(owner)}: "
                "wait for it, or give another folder."
            )

        def waiting(owner: Owner | None) -> None:
            log(
                f"Another training{owner_in_brackets(owner)} holds --run-dir {self.path}: waiting "
                f"up to {LEASE:g} seconds for a heartbeat."
            )

        self.check()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"--run-dir {self.path} can't be created: {reason_of(error)}. Give another folder."
            ) from error
        return hold_lock(self.lock, waiting, refusal=refusal)


# What is written when a run starts; config.json is last, and makes the folder a run.
_STARTED = {".lock", "corpus.json", "primes.npy", "vocabulary.json", "config.json"}
STARTED_RUN = FolderKind(
    "a run that was started",
    _STARTED.__contains__,
    {".lock": is_lock_file, "corpus.json": lambda path: read_metadata_header(path).is_of_run},
)
