"""Where checkpoints lie: a sealed folder for each step, of which the latest and the best stay."""

import contextlib
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from jaxmusic.atomic import sync, writing
from jaxmusic.errors import UserError, is_shortage
from jaxmusic.seal import DamageError, read_seal, write_seal
from jaxmusic.stored import Count

LATEST = 2  # whole checkpoints that are kept, beside the best one


class CheckpointError(UserError):
    """A checkpoint can't be written, or none can be read."""


class MovedError(Exception):
    """A checkpoint that was being read has been replaced or removed: look again."""


class About(msgspec.Struct, frozen=True):
    """What is told of a checkpoint in its seal."""

    step: Count
    score: float | None  # the loss that `best` goes by, where an epoch ended with this step
    crc32: Count  # of the arrays, taken before they were written
    run: str | None  # the name that the run gave itself; None: it has none

    @classmethod
    def of(cls, step: int, score: float | None, crc32: int, run: str | None) -> "About":
        """What is to be told; a score that is no number is none."""
        is_number = score is not None and math.isfinite(score)
        return cls(step, score if is_number else None, crc32, run)

    @property
    def rank(self) -> float:
        """The score; infinite where there is none: never the best."""
        return math.inf if self.score is None else self.score


class Shelf:
    """A folder of checkpoints, each in a folder named by its step.

    A checkpoint gets that name when it is whole and sealed with the digests of all its files. One
    that isn't as it was sealed is passed over, with a line to `tell`, and removed when the next
    one is put in. Names that begin with a dot are of what is being written or removed.
    """

    def __init__(
        self, folder: Path, tell: Callable[[str], None], *, run: str | None = None
    ) -> None:
        self.folder = folder
        self.run = run
        self.tell = tell
        self._told: set[int] = set()
        self._whole: dict[int, About] | None = None  # None: not looked at yet
        self._place: tuple[int, int] | None = None

    # Reading.

    def steps(self) -> list[int]:
        """Steps that a file or folder is named by, the newest first; whole or not."""
        names = [path.name for path in self.folder.iterdir()]
        return sorted((int(name) for name in names if _is_step(name)), reverse=True)

    def look(self) -> list[About]:
        """All checkpoints that are as they were sealed; the others are told of.

        Reads all of them. Raises MovedError, and CheckpointError when one can't be looked at.
        """
        abouts = [self._look_at(step) for step in self.steps()]
        self._whole = {about.step: about for about in abouts if about is not None}
        return list(self._whole.values())

    def place(self, step: int) -> tuple[int, int] | None:
        """What tells a checkpoint's folder from another that takes its place; None: it is gone."""
        return _place(self.folder / str(step))

    def pass_over(self, step: int, place: tuple[int, int] | None, error: Exception) -> None:
        """A checkpoint is damaged, as an error shows, which lay there when the reading began.

        Raises MovedError when it doesn't any more: by the training whose folder this is. Raises
        CheckpointError when the error is of the system, and says nothing about the checkpoint.
        """
        if self.place(step) != place:
            raise MovedError
        reason = str(error).strip().split("\n")[0][:200]
        if is_shortage(error):
            raise CheckpointError(
                f"{self.folder / str(step)} can't be read: {reason}. Mend that and start the same "
                "command again."
            ) from error
        if self._whole is not None:
            self._whole.pop(step, None)
        if step not in self._told:
            self._told.add(step)
            self.tell(f"The checkpoint of step {step} is damaged, passed over: {reason}")

    def _look_at(self, step: int) -> About | None:
        folder, place = self.folder / str(step), self.place(step)
        if not os.path.lexists(folder):
            raise MovedError
        try:
            if not folder.is_dir():
                raise DamageError("it is no folder")
            about = read_seal(folder, About)
            if about.step != step:
                raise DamageError(f"it is that of step {about.step}")
            if self.run is not None and about.run != self.run:
                raise DamageError("it is another run's")
        except PermissionError as error:  # says nothing about the checkpoint
            raise CheckpointError(
                f"{error.filename} can't be read: {error.strerror}. Mend that and start the same "
                "command again."
            ) from error
        except DamageError as damage:
            self.pass_over(step, place, damage)
            return None
        return about

    # Writing.

    def open(self) -> None:
        """Make the folder, where it isn't there, and remove what saves that were cut off left.

        Raises WriteError.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._place = _place(self.folder)
            self._clean_up()
            probe = self.folder / ".partial-probe"
            probe.mkdir()
            probe.rmdir()

    @contextlib.contextmanager
    def adding(self, about: About) -> Iterator[Path]:
        """Inside, the files of a checkpoint are written to the folder given.

        Then it is sealed and takes its place, also that of another of the same step; all but the
        latest and the best are removed. When it can't be written nothing has changed.

        Raises WriteError, OSError, and CheckpointError when the folder has vanished.
        """
        if self._whole is None:
            self.look()
        if _place(self.folder) != self._place:
            raise CheckpointError(
                f"{self.folder} was removed or replaced while the training went on: put it back "
                "and start the same command again; without it, it begins anew."
            )
        partial, target = self.folder / f".partial-{about.step}", self.folder / str(about.step)
        try:
            _remove(partial)
            partial.mkdir()
            yield partial
            write_seal(partial, msgspec.structs.asdict(about))
            if os.path.lexists(target):
                target.rename(self.folder / f".replaced-{about.step}")
            partial.rename(target)
            sync(self.folder)
        except BaseException:
            for _ in range(100):  # Orbax's threads may still be writing there, for a moment
                _remove(partial)
                if not partial.exists():
                    break
                time.sleep(0.05)
            raise
        self._keep_few(about)

    def _keep_few(self, new: About) -> None:
        whole = {**(self._whole or {}), new.step: new}
        kept = set(sorted(whole)[-LATEST:])
        best = min(whole.values(), key=lambda about: (about.rank, about.step))
        if best.rank < math.inf:
            kept.add(best.step)
        for step in set(self.steps()) - kept:
            # Renamed first: no checkpoint is ever seen with half of its files.
            (self.folder / str(step)).rename(self.folder / f".removed-{step}")
        self._clean_up()
        self._whole = {step: about for step, about in whole.items() if step in kept}

    def _clean_up(self) -> None:
        """Remove what saves have left, those that were cut off too."""
        for path in list(self.folder.iterdir()):
            if path.name.startswith(".replaced-"):
                step = self.folder / path.name.removeprefix(".replaced-")
                if not os.path.lexists(step):  # stopped before the new one took its place
                    path.rename(step)
                    continue
            # The last: of a version that let Orbax write to this folder.
            if re.match(r"\.(replaced|removed|partial)-|\d+\.orbax-checkpoint-tmp", path.name):
                _remove(path)


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit() and name == str(int(name))


def _place(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _remove(path: Path) -> None:
    """As far as it can be: what is left is removed after another save."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
