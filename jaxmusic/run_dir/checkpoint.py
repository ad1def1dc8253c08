"""Checkpoints of a training state, latest and best: the only door to Orbax."""

import logging
import os
import re
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

from jaxmusic.errors import UserError, reason_of
from jaxmusic.run_dir.checkpoint_dir import About, CheckpointError, MovedError, Shelf
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import why_not_written
from jaxmusic.storage.file_lock import FileLock

__all__ = ["CheckpointError", "Checkpoints", "Restored"]

PyTree = Any

# Orbax tells of every array that it fails to read; ours is one line a checkpoint.
logging.getLogger("absl").setLevel(logging.CRITICAL)


def check_folder(folder: Path) -> None:
    """Raise CheckpointError where Orbax can't use a folder: it knows UTF-8 alone."""
    try:
        str(folder.resolve()).encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            f"{printable(folder)} can't hold checkpoints, since its path (or that of the folder "
            "where the command was started) is not UTF-8: rename the folder, or use another one."
        ) from None


class Restored(NamedTuple):
    """What was read back."""

    step: int
    state: PyTree
    score: float | None  # the loss that `best` goes by, where an epoch ended with this step


class Checkpoints:
    """The checkpoints of one run: the two latest and the best are kept.

    One that is damaged is passed over for the next, with a line to `log`, and removed after the
    next save; when there is no whole one nothing is removed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run: str | None = None,
        read_only: bool = False,
        lock: FileLock | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Open a folder, and make it unless `read_only`. Checkpoints named otherwise than `run`
        are passed over.

        Raises WriteError when it can't be made or written to.
        """
        check_folder(folder)
        self.folder = folder.resolve()  # Orbax refuses relative paths
        self.log = log
        self._lock = lock
        check_lock = lock.check if lock is not None else lambda: None
        self._shelf = Shelf(self.folder, log, run=run, check_lock=check_lock)
        if not read_only:
            self._shelf.open()
        # Of several processes one alone reads and writes: the others aren't waited for.
        alone = MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}
        )
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        self._orbax = ocp.Checkpointer(handler, multiprocessing_options=alone)
        self._worker = ThreadPoolExecutor(1, "checkpoint")
        self._under_way: Future[None] | None = None

    def save(self, step: int, state: PyTree, *, score: float | None = None) -> None:
        """Save a state in the background.

        `score` is the loss that `best` goes by, for a state at the end of an epoch. The state
        may be donated as soon as this returns. A checkpoint of the same step is replaced.

        Raises WriteError, CheckpointError or LockError when the save before it failed.
        """
        self._wait()
        host_state = jax.device_get(state)
        self._under_way = self._worker.submit(self._write, step, host_state, score)

    def check(self) -> None:
        """See whether the save in the background failed, without waiting for its end.

        Raises WriteError or CheckpointError when it did, LockError when the last heartbeat found
        that another training has taken the run over.
        """
        if self._lock is not None:
            self._lock.check(quick=True)
        if self._under_way is not None and self._under_way.done():
            self._wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        """Wait until all is on disk.

        Raises WriteError or CheckpointError when the last save failed; beside another error that
        is on its way it is told only.
        """
        try:
            self._wait()
        except UserError as failure:
            if error is None:
                raise
            self.log(str(failure))
        finally:
            self._worker.shutdown()
            self._orbax.close()

    def restore_latest(self, abstract: PyTree) -> Restored | None:
        """The newest checkpoint that is whole, as NumPy arrays; None when there is none at all.

        `abstract` is a pytree of shapes and dtypes. Raises CheckpointError when there are
        checkpoints but none is whole.
        """
        return self._restore_first(lambda about: -about.step, abstract)

    def restore_best(self, abstract: PyTree) -> Restored | None:
        """The whole checkpoint with the lowest score, as NumPy arrays.

        Where none has a score, as no epoch has ended yet, the newest. Raises as restore_latest.
        """

        def order(about: About) -> tuple[float, int]:
            return about.rank, about.step if about.rank < np.inf else -about.step

        return self._restore_first(order, abstract)

    def _restore_first(self, order: Callable[[About], Any], abstract: PyTree) -> Restored | None:
        for _ in range(100):  # a training that is at work may replace and remove some meanwhile
            try:
                for about in sorted(self._shelf.look(), key=order):
                    if (restored := self._restore(about, abstract)) is not None:
                        return restored
                break
            except MovedError:
                continue
        if steps := self._shelf.steps():
            raise CheckpointError(
                f"All checkpoints in {self.folder} (steps {', '.join(map(str, steps))}) are "
                "damaged, or of other settings: move the folder away to start from the beginning."
            )
        return None

    def _restore(self, about: About, abstract: PyTree) -> Restored | None:
        place = self._shelf.place(about.step)
        path = self.folder / str(about.step) / "state"
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
        try:
            state = self._orbax.restore(path, args=ocp.args.StandardRestore(target))
            if about.crc32 != _crc32(state):
                raise ValueError("its arrays don't match their checksum")
            _check_shapes(state, target)
        except (PermissionError, MemoryError) as error:  # says nothing about the checkpoint
            reason = reason_of(error) if isinstance(error, OSError) else "out of memory"
            raise CheckpointError(
                f"{path} can't be read: {reason}. Mend that and start the same command again."
            ) from error
        # What Orbax raises for a damaged file is not documented, and is not one kind.
        except Exception as error:
            self._shelf.pass_over(about.step, place, error)
            return None
        return Restored(about.step, state, about.score)

    def _write(self, step: int, state: PyTree, score: float | None) -> None:
        about = About.of(step, score, _crc32(state), self._shelf.run)
        with self._shelf.adding(about) as folder:
            self._orbax.save(folder / "state", args=ocp.args.StandardSave(state))

    def _wait(self) -> None:
        """Wait for the save under way. Raises WriteError or CheckpointError when it failed."""
        if self._under_way is None:
            return
        future = self._under_way
        try:
            future.result()
        except (OSError, ValueError) as error:
            reason = _system_error(error)
            raise CheckpointError(why_not_written(self.folder, reason)) from error
        finally:
            self._under_way = None if future.done() else future


def _check_shapes(state: PyTree, target: PyTree) -> None:
    """Raise ValueError for arrays of other shapes, which Orbax reads all the same."""
    for (path, leaf), wanted in zip(
        jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(target), strict=True
    ):
        if (leaf.shape, leaf.dtype) != (wanted.shape, wanted.dtype):
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"{name} is {leaf.dtype}{leaf.shape}, not {wanted.dtype}{wanted.shape}"
            )


def _system_error(error: OSError | ValueError) -> OSError:
    """TensorStore tells of a full disk with a ValueError, which has the number in its words."""
    if isinstance(error, OSError):
        return error
    if number := re.search(r"os_error_code='(\d+)'", str(error)):
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return OSError(str(error).strip().split("\n")[0][:300])


def _crc32(state: PyTree) -> int:
    """Of all arrays with their places and types, in the pytree's order."""
    crc = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.ascontiguousarray(leaf)
        name = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, zlib.crc32(name.encode(), crc))
    return crc
