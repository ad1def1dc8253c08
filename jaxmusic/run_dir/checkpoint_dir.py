"""The folder `checkpoints/` of a run: names, verification and retention of checkpoints.

Not `orbax.checkpoint.CheckpointManager`: that one deletes whatever lies in a checkpoint, deletes a
checkpoint before it writes another of the same step, counts damaged ones among the latest to keep,
and lists none at all when the metrics file of one is damaged.
"""

import contextlib
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from jaxmusic.errors import UserError, is_shortage, reason_of
from jaxmusic.run_dir.checkpoint_files import checkpoint_kind, why_not_checkpoint
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import sync, writing
from jaxmusic.storage.checksums import DamageError, verify_manifest, write_manifest
from jaxmusic.storage.owned_folder import remove_known, why_foreign
from jaxmusic.storage.reading import Count

# Folders of a step that are being written, replaced or removed.
_TEMPORARY = re.compile(r"\.(partial|replaced|removed)-(\d+)-[0-9a-f]{8}")
KEEP_LATEST = 2  # intact checkpoints, in addition to the best one


class CheckpointError(UserError):
    """A checkpoint can't be written, or none can be read."""


class ReplacedError(Exception):
    """A checkpoint was replaced or removed while it was being read: scan again."""


class CheckpointInfo(msgspec.Struct, frozen=True):
    """What a checkpoint's manifest says about it."""

    step: Count
    score: float | None  # the loss that selects the best, if an epoch ended with this step
    crc32: Count  # of the arrays in memory, before they were written
    run: str | None  # identifier of the run; None: it has none

    @classmethod
    def of(cls, step: int, score: float | None, crc32: int, run: str | None) -> "CheckpointInfo":
        """Describe a checkpoint; a score that is not finite counts as none."""
        is_finite = score is not None and math.isfinite(score)
        return cls(step, score if is_finite else None, crc32, run)

    @property
    def rank(self) -> float:
        """The score; infinite without one, so that it is never the best."""
        return math.inf if self.score is None else self.score


class CheckpointDir:
    """Checkpoints, each in a folder named by its step.

    A checkpoint is written to a temporary folder and renamed once its manifest is written. A
    damaged one is skipped, with a line to `log`, and removed after the next save. Names that begin
    with a dot are temporary.

    Nothing but checkpoints is ever removed or renamed. Anything else under a step's name is
    reported before training begins; under any other name it is ignored.
    """

    def __init__(
        self,
        folder: Path,
        log: Callable[[str], None],
        *,
        run: str | None = None,
        check_lock: Callable[[], None] = lambda: None,
    ) -> None:
        """`check_lock` raises a UserError when another training has taken over the run."""
        self.folder = folder
        self.run = run
        self.log = log
        self._check_lock = check_lock
        self._logged: set[int | Path] = set()  # damaged steps and foreign folders
        self._intact: dict[int, CheckpointInfo] | None = None  # None: not scanned yet
        self._known: set[int] = set()  # steps that the scan found, or that were saved since
        self._own_partials: set[Path] = set()
        self._inode: tuple[int, int] | None = None  # of the folder

    # Reading.

    def steps(self) -> list[int]:
        """Steps that a file or folder is named by, newest first; intact or not."""
        names = [path.name for path in self.folder.iterdir()]
        return sorted((int(name) for name in names if _is_step(name)), reverse=True)

    def scan(self) -> list[CheckpointInfo]:
        """Verify all checkpoints; return the intact ones and report the others.

        Raises ReplacedError, and CheckpointError when one can't be read.
        """
        self._known = set(self.steps())
        infos = [self._verify(step) for step in sorted(self._known, reverse=True)]
        self._intact = {info.step: info for info in infos if info is not None}
        return list(self._intact.values())

    def inode(self, step: int) -> tuple[int, int] | None:
        """Identifies the folder of a step, to notice its replacement; None: it doesn't exist."""
        return _inode(self.folder / str(step))

    def report_damage(self, step: int, inode: tuple[int, int] | None, error: Exception) -> None:
        """Log that a checkpoint is damaged; `inode` is what it had before it was read.

        Raises ReplacedError when the training in this folder has replaced it meanwhile, and
        CheckpointError when the error is the system's and says nothing about the checkpoint.
        """
        if self.inode(step) != inode:
            raise ReplacedError
        reason = str(error).strip().split("\n")[0][:200]
        if is_shortage(error):
            raise CheckpointError(unreadable(self.folder / str(step), reason)) from error
        if self._intact is not None:
            self._intact.pop(step, None)
        if step not in self._logged:
            self._logged.add(step)
            self.log(f"The checkpoint of step {step} is damaged, skipped: {printable(reason)}")

    def _verify(self, step: int) -> CheckpointInfo | None:
        folder, inode = self.folder / str(step), self.inode(step)
        if not os.path.lexists(folder):
            raise ReplacedError
        try:
            if not folder.is_dir():
                raise DamageError("it is not a folder")
            info = verify_manifest(folder, CheckpointInfo)
            if info.step != step:
                raise DamageError(f"it is that of step {info.step}")
            if self.run is not None and info.run != self.run:
                raise DamageError("it is another run's")
        except PermissionError as error:  # says nothing about the checkpoint
            raise CheckpointError(unreadable(error.filename, reason_of(error))) from error
        except DamageError as error:
            self.report_damage(step, inode, error)
            return None
        return info

    # Writing.

    def open(self) -> None:
        """Create the folder if necessary, and remove what interrupted saves have left.

        Raises WriteError, and CheckpointError where something else has a step's name.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._inode = _inode(self.folder)
            self._clean_up(all_partials=True)
            for step in self.steps():
                self._refuse_foreign(step)
            probe = self._temporary_name("partial", 0)
            probe.mkdir()
            probe.rmdir()

    @contextlib.contextmanager
    def adding(self, info: CheckpointInfo) -> Iterator[Path]:
        """Write a checkpoint: the body writes its files to the folder given.

        Afterwards it gets its name, and replaces an older one of the same step; all but the latest
        and the best are removed. If the save fails, nothing has changed.

        Raises WriteError, OSError, and CheckpointError when the folder has vanished or another
        training writes to it.
        """
        if self._intact is None:
            self.scan()
        if _inode(self.folder) != self._inode:
            raise CheckpointError(
                f"{self.folder} was removed or replaced during training: put it back and start "
                "the same command again; without it, training begins anew."
            )
        partial, target = self._temporary_name("partial", info.step), self.folder / str(info.step)
        try:
            partial.mkdir()
            self._own_partials.add(partial)
            yield partial
            write_manifest(partial, msgspec.structs.asdict(info))
            self._check_lock()
            self._refuse_other_training()
            if os.path.lexists(target):
                self._refuse_foreign(info.step)
                target.rename(self._temporary_name("replaced", info.step))
            partial.rename(target)
            self._own_partials.remove(partial)
            self._known.add(info.step)
            sync(self.folder)
        except BaseException:  # Ctrl-C too: what is partial never stays
            for _ in range(100):  # Orbax's threads may still be writing there, for a moment
                remove_known(partial, checkpoint_kind(partial))
                if not partial.exists():
                    break
                time.sleep(0.05)
            raise
        self._remove_old(info)

    def _remove_old(self, new: CheckpointInfo) -> None:
        intact = {**(self._intact or {}), new.step: new}
        kept = set(sorted(intact)[-KEEP_LATEST:])
        best = min(intact.values(), key=lambda info: (info.rank, info.step))
        if best.rank < math.inf:
            kept.add(best.step)
        for step in (self._known & set(self.steps())) - kept:
            # Renamed first, so that nobody ever sees a checkpoint with half of its files.
            folder = self.folder / str(step)
            if not self._is_foreign(folder, why_not_checkpoint(folder, self.run)):
                folder.rename(self._temporary_name("removed", step))
        self._clean_up()
        self._intact = {step: info for step, info in intact.items() if step in kept}

    def _clean_up(self, *, all_partials: bool = False) -> None:
        """Remove temporary folders; with `all_partials` also those that others have written."""
        for path in list(self.folder.iterdir()):
            match = _TEMPORARY.fullmatch(path.name)
            if match is None:
                continue
            kind, step = match.groups()
            if kind == "partial" and path not in self._own_partials and not all_partials:
                continue  # another training may be writing it
            target = self.folder / step
            if kind == "replaced" and not os.path.lexists(target):
                # Interrupted before the new one got its name.
                if not self._is_foreign(path, why_not_checkpoint(path, self.run)):
                    path.rename(target)
            elif not self._is_foreign(path, why_foreign(path, checkpoint_kind(path))):
                remove_known(path, checkpoint_kind(path))

    def _temporary_name(self, kind: str, step: int) -> Path:
        return self.folder / f".{kind}-{step}-{secrets.token_hex(4)}"

    def _refuse_foreign(self, step: int) -> None:
        folder = self.folder / str(step)
        if why := why_not_checkpoint(folder, self.run):
            raise CheckpointError(
                f"{printable(folder)} has a checkpoint's name, but is not one of this run: {why}. "
                "Move it away and start the same command again."
            )

    def _refuse_other_training(self) -> None:
        """Raise CheckpointError when another training has saved checkpoints here meanwhile."""
        others = [
            step
            for step in self.steps()
            if step not in self._known and not why_not_checkpoint(self.folder / str(step), self.run)
        ]
        if others:
            raise CheckpointError(
                f"Another training has saved step {others[0]:,} in {self.folder} meanwhile: this "
                "one stops. What was saved is kept, and the same command continues from there, "
                "once no other training is running."
            )

    def _is_foreign(self, path: Path, why: str) -> bool:
        """Whether there is a reason not to touch a folder; logs it once."""
        if why and path not in self._logged:
            self._logged.add(path)
            self.log(f"{printable(path)} is left alone: {why}.")
        return why != ""


def unreadable(path: str | Path, reason: str) -> str:
    """A sentence for a checkpoint that may be intact, but can't be read now."""
    return f"{path} can't be read: {reason}. Fix that and start the same command again."


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit() and name == str(int(name))


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
