"""Where checkpoints lie: a sealed folder for each step, of which the latest and the best stay."""

import contextlib
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from jaxmusic.errors import UserError, is_shortage
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import sync, writing
from jaxmusic.storage.checksums import (
    MANIFEST,
    DamageError,
    read_manifest,
    verify_manifest,
    write_manifest,
)
from jaxmusic.storage.owned_folder import FolderKind, remove_known, why_foreign
from jaxmusic.storage.reading import Count, open_to_read, read_json

# Names of what is being written, replaced or removed, of a step.
_LEFT_OVER = re.compile(r"\.(partial|replaced|removed)-(\d+)-[0-9a-f]{8}")
# What Orbax writes, also while it is at it: for folders whose seal doesn't tell.
_ORBAX = re.compile(
    r"state(\.orbax-checkpoint-tmp[^/]*)?/("
    r"_CHECKPOINT_METADATA|_METADATA|_sharding|commit_success\.txt|array_metadatas/(process_\d+)?|"
    r"(ocdbt\.process_\d+/)?(manifest\.ocdbt(\.__lock)?|d/([0-9a-f]{32}(\.__lock)?)?)?)?"
)
LARGEST_METADATA = 64 << 20  # bytes of JSON of Orbax's
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
    that isn't as it was sealed is passed over, with a line to `log`, and removed when the next
    one is put in. Names that begin with a dot are of what is being written or removed.

    What no checkpoint holds is never removed or renamed: under a step's name it is an obstacle,
    and told before the training begins; under any other it is let alone.
    """

    def __init__(
        self,
        folder: Path,
        log: Callable[[str], None],
        *,
        run: str | None = None,
        check_lock: Callable[[], None] = lambda: None,
    ) -> None:
        """`check_lock` raises a UserError when another training has taken the run over."""
        self.folder = folder
        self.run = run
        self.log = log
        self._told: set[int] = set()
        self._let_alone: set[Path] = set()
        self._check_lock = check_lock
        self._whole: dict[int, About] | None = None  # None: not looked at yet
        self._known: set[int] = set()  # steps that were there then, or were put here since
        self._begun: set[Path] = set()  # folders of saves that are under way, or failed
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
        self._known = set(self.steps())
        abouts = [self._look_at(step) for step in sorted(self._known, reverse=True)]
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
            self.log(f"The checkpoint of step {step} is damaged, passed over: {printable(reason)}")

    def _look_at(self, step: int) -> About | None:
        folder, place = self.folder / str(step), self.place(step)
        if not os.path.lexists(folder):
            raise MovedError
        try:
            if not folder.is_dir():
                raise DamageError("it is no folder")
            about = verify_manifest(folder, About)
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

        Raises WriteError, and CheckpointError where something else has a step's name.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._place = _place(self.folder)
            self._clean_up(stopped=True)
            for step in self.steps():
                self._refuse_other_things(step)
            probe = self._new_name("partial", 0)
            probe.mkdir()
            probe.rmdir()

    @contextlib.contextmanager
    def adding(self, about: About) -> Iterator[Path]:
        """Inside, the files of a checkpoint are written to the folder given.

        Then it is sealed and takes its place, also that of another of the same step; all but the
        latest and the best are removed. When it can't be written nothing has changed.

        Raises WriteError, OSError, and CheckpointError when the folder has vanished, or another
        training is at work in it.
        """
        if self._whole is None:
            self.look()
        if _place(self.folder) != self._place:
            raise CheckpointError(
                f"{self.folder} was removed or replaced while the training went on: put it back "
                "and start the same command again; without it, it begins anew."
            )
        partial, target = self._new_name("partial", about.step), self.folder / str(about.step)
        try:
            partial.mkdir()
            self._begun.add(partial)
            yield partial
            write_manifest(partial, msgspec.structs.asdict(about))
            self._check_lock()
            self._refuse_others_steps()
            if os.path.lexists(target):
                self._refuse_other_things(about.step)
                target.rename(self._new_name("replaced", about.step))
            partial.rename(target)
            self._begun.remove(partial)
            self._known.add(about.step)
            sync(self.folder)
        except BaseException:
            for _ in range(100):  # Orbax's threads may still be writing there, for a moment
                remove_known(partial, _any_checkpoint(partial))
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
        for step in (self._known & set(self.steps())) - kept:
            # Renamed first: no checkpoint is ever seen with half of its files.
            folder = self.folder / str(step)
            if not self._lets_alone(folder, self._why_not_ours(folder)):
                folder.rename(self._new_name("removed", step))
        self._clean_up()
        self._whole = {step: about for step, about in whole.items() if step in kept}

    def _clean_up(self, *, stopped: bool = False) -> None:
        """Remove what saves have left; with `stopped` those too that are no training's any more."""
        for path in list(self.folder.iterdir()):
            found = _LEFT_OVER.fullmatch(path.name)
            if found is None:
                continue
            kind, step = found.groups()
            if kind == "partial" and path not in self._begun and not stopped:
                continue  # another training may be writing it
            target = self.folder / step
            if kind == "replaced" and not os.path.lexists(target):
                # Stopped before the new one took its place.
                if not self._lets_alone(path, self._why_not_ours(path)):
                    path.rename(target)
            elif not self._lets_alone(path, why_foreign(path, _any_checkpoint(path))):
                remove_known(path, _any_checkpoint(path))

    def _new_name(self, kind: str, step: int) -> Path:
        """A name that nothing has, for what is being written, replaced or removed."""
        return self.folder / f".{kind}-{step}-{secrets.token_hex(4)}"

    def _why_not_ours(self, folder: Path) -> str:
        """What makes a folder no checkpoint of this run, damaged or not; empty if it is one."""
        if why := why_foreign(folder, _any_checkpoint(folder)._replace(proofs=_PROOFS)):
            return why
        manifest = read_manifest(folder)
        run = None if manifest is None else manifest.about.get("run")
        return "it is another run's" if None not in (run, self.run) and run != self.run else ""

    def _refuse_other_things(self, step: int) -> None:
        folder = self.folder / str(step)
        if why := self._why_not_ours(folder):
            raise CheckpointError(
                f"{printable(folder)} has a checkpoint's name, but is none of this run: {why}. "
                "Move that away and start the same command again."
            )

    def _refuse_others_steps(self) -> None:
        """Raise CheckpointError when another training has put checkpoints here meanwhile."""
        others = [
            step
            for step in self.steps()
            if step not in self._known and not self._why_not_ours(self.folder / str(step))
        ]
        if others:
            raise CheckpointError(
                f"Another training has saved step {others[0]:,} in {self.folder} while this one "
                "was at work: this one stops. What was saved is kept, and the same command goes on "
                "from there, once no other training is at work."
            )

    def _lets_alone(self, path: Path, why: str) -> bool:
        """Whether there is a reason why a folder isn't ours, which is told once."""
        if why and path not in self._let_alone:
            self._let_alone.add(path)
            self.log(f"{printable(path)} is let alone: {why}.")
        return why != ""


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit() and name == str(int(name))


def _place(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _any_checkpoint(folder: Path) -> FolderKind:
    """A checkpoint by its names alone, also one that was not written to its end.

    That is enough for folders whose own name is one that we drew: there may be no proof yet.
    """
    manifest = read_manifest(folder)
    knows = _is_checkpoint_file if manifest is None else manifest.paths.__contains__
    return FolderKind("a checkpoint", knows, {})


def _is_checkpoint_file(path: str) -> bool:
    return path == MANIFEST or _ORBAX.fullmatch(path) is not None


def _is_metadata(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        content = read_json(path, dict[str, Any], most=LARGEST_METADATA)
        return "item_handlers" in content or "tree_metadata" in content
    return False


def _is_database(path: Path) -> bool:
    """Whether a file begins as TensorStore's manifests do."""
    with contextlib.suppress(OSError, ValueError), open_to_read(path) as file:
        return file.read(4) == b"\x0c\xdb:*"
    return False


# Any one of them that is whole says that the folder is a checkpoint.
_PROOFS = {
    MANIFEST: lambda path: read_manifest(path.parent) is not None,
    "state/_CHECKPOINT_METADATA": _is_metadata,
    "state/_METADATA": _is_metadata,
    "state/manifest.ocdbt": _is_database,
}
