"""Checkpoints of a training state, the latest and the best: the only door to Orbax.

Orbax writes and reads the arrays; checkpoint_dir.py names, verifies and removes checkpoints.
"""

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
from jaxmusic.run_dir.checkpoint_dir import (
    CheckpointDir,
    CheckpointError,
    CheckpointInfo,
    ReplacedError,
    unreadable,
)
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import why_not_written
from jaxmusic.storage.file_lock import FileLock

__all__ = ["CheckpointError", "Checkpoints", "Restored"]

PyTree = Any

# Orbax logs every array that it fails to read; we log one line a checkpoint.
logging.getLogger("absl").setLevel(logging.CRITICAL)


def check_folder(folder: Path) -> None:
    """Raise CheckpointError for a path that Orbax can't use, which is not UTF-8."""
    try:
        str(folder.resolve()).encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            f"{printable(folder)} can't hold checkpoints, since its path (or that of the folder "
            "where the command was started) is not UTF-8: rename the folder, or use another one."
        ) from None


class Restored(NamedTuple):
    """A checkpoint as read."""

    step: int
    state: PyTree
    score: float | None  # the loss that selects the best, if an epoch ended with this step


class Checkpoints:
    """The checkpoints of one run: the two latest and the best are kept.

    A damaged one is skipped, with a line to `log`, and removed after the next save. As long as
    none is intact, none is removed.
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
        """Open a folder, created unless `read_only`. Checkpoints of another `run` are skipped.

        Raises WriteError when it can't be created or written to.
        """
        check_folder(folder)
        self.folder = folder.resolve()  # Orbax refuses relative paths
        self.log = log
        self._lock = lock
        check_lock = lock.check if lock is not None else lambda: None
        self._dir = CheckpointDir(self.folder, log, run=run, check_lock=check_lock)
        if not read_only:
            self._dir.open()
        # One of several processes reads and writes: Orbax must not wait for the others.
        alone = MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}
        )
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        self._orbax = ocp.Checkpointer(handler, multiprocessing_options=alone)
        self._worker = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def save(self, step: int, state: PyTree, *, score: float | None = None) -> None:
        """Save a state in the background; it may be donated as soon as this returns.

        A checkpoint of the same step is replaced. `score` is the loss that selects the best, for a
        state at the end of an epoch.

        Raises WriteError, CheckpointError or LockError when the previous save failed.
        """
        self._wait()
        host_state = jax.device_get(state)
        self._pending = self._worker.submit(self._write, step, host_state, score)

    def check(self) -> None:
        """Raise WriteError or CheckpointError if the save in the background has failed by now.

        Raises LockError if another training has taken over the run.
        """
        if self._lock is not None:
            self._lock.check(quick=True)
        if self._pending is not None and self._pending.done():
            self._wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        """Wait until all is on disk.

        Raises WriteError or CheckpointError when the last save failed; while another error is
        being raised, that failure is only logged.
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
        """Read the newest intact checkpoint as NumPy arrays; None if there is none at all.

        `abstract` is a pytree of shapes and dtypes. Raises CheckpointError when there are
        checkpoints, but none is intact.
        """
        return self._restore_first(lambda info: -info.step, abstract)

    def restore_best(self, abstract: PyTree) -> Restored | None:
        """Read the intact checkpoint with the lowest score as NumPy arrays.

        Before the first epoch has ended, that is the newest. Raises as `restore_latest`.
        """

        def order(info: CheckpointInfo) -> tuple[float, int]:
            return info.rank, info.step if info.rank < np.inf else -info.step

        return self._restore_first(order, abstract)

    def _restore_first(
        self, order: Callable[[CheckpointInfo], Any], abstract: PyTree
    ) -> Restored | None:
        for _ in range(100):  # a running training may replace and remove some meanwhile
            try:
                for info in sorted(self._dir.scan(), key=order):
                    if (restored := self._restore(info, abstract)) is not None:
                        return restored
                break
            except ReplacedError:
                continue
        if steps := self._dir.steps():
            raise CheckpointError(
                f"All checkpoints in {self.folder} (steps {', '.join(map(str, steps))}) are "
                "damaged, or of other settings: move the folder away to start from the beginning."
            )
        return None

    def _restore(self, info: CheckpointInfo, abstract: PyTree) -> Restored | None:
        inode = self._dir.inode(info.step)
        path = self.folder / str(info.step) / "state"
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
        try:
            state = self._orbax.restore(path, args=ocp.args.StandardRestore(target))
            if info.crc32 != _crc32(state):
                raise ValueError("its arrays don't match their checksum")
            _check_shapes(state, target)
        except (PermissionError, MemoryError) as error:  # says nothing about the checkpoint
            reason = reason_of(error) if isinstance(error, OSError) else "out of memory"
            raise CheckpointError(unreadable(path, reason)) from error
        # What Orbax raises for a damaged file is neither documented nor of one type.
        except Exception as error:
            self._dir.report_damage(info.step, inode, error)
            return None
        return Restored(info.step, state, info.score)

    def _write(self, step: int, state: PyTree, score: float | None) -> None:
        info = CheckpointInfo.of(step, score, _crc32(state), self._dir.run)
        with self._dir.adding(info) as folder:
            self._orbax.save(folder / "state", args=ocp.args.StandardSave(state))

    def _wait(self) -> None:
        """Wait for the pending save. Raises WriteError or CheckpointError when it failed."""
        if self._pending is None:
            return
        future = self._pending
        try:
            future.result()
        except (OSError, ValueError) as error:
            reason = _system_error(error)
            raise CheckpointError(why_not_written(self.folder, reason)) from error
        finally:
            self._pending = None if future.done() else future


def _check_shapes(state: PyTree, target: PyTree) -> None:
    """Raise ValueError for arrays of other shapes or dtypes, which Orbax reads silently."""
    for (path, leaf), wanted in zip(
        jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(target), strict=True
    ):
        if (leaf.shape, leaf.dtype) != (wanted.shape, wanted.dtype):
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"{name} is {leaf.dtype}{leaf.shape}, not {wanted.dtype}{wanted.shape}"
            )


def _system_error(error: OSError | ValueError) -> OSError:
    """TensorStore reports a full disk as a ValueError, with the error number in its message."""
    if isinstance(error, OSError):
        return error
    if number := re.search(r"os_error_code='(\d+)'", str(error)):
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return OSError(str(error).strip().split("\n")[0][:300])


def _crc32(state: PyTree) -> int:
    """Checksum of all arrays with their paths, dtypes and shapes, in the pytree's order."""
    crc = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.ascontiguousarray(leaf)
        name = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, zlib.crc32(name.encode(), crc))
    return crc
