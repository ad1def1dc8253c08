"""Checkpoints of a training state, latest and best: the only door to Orbax."""

import logging
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN
from orbax.checkpoint.options import MultiprocessingOptions

from jaxmusic.errors import UserError

PyTree = Any

# Orbax tells of every array that it fails to read; ours is one line a checkpoint.
logging.getLogger("absl").setLevel(logging.CRITICAL)


class CheckpointError(UserError):
    """A checkpoint can't be written, or none can be read."""


class Restored(NamedTuple):
    """What was read back."""

    step: int
    state: PyTree
    score: float | None  # the loss that `best` goes by, where an epoch ended with this step


def _score(metrics: dict[str, Any]) -> float:
    """Orbax would take a NaN for the best there is; here what is no number is the worst."""
    score = metrics.get("score")
    return score if isinstance(score, float) and math.isfinite(score) else math.inf


class Checkpoints:
    """The checkpoints of one run: the two latest and the best are kept.

    Orbax's arrays carry no checksum, so each checkpoint has one of ours beside it, and one
    that doesn't fit is passed over for the next older. `tell` gets a line about each such.
    """

    def __init__(
        self,
        folder: Path,
        *,
        read_only: bool = False,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folder = folder.resolve()  # Orbax refuses relative paths, but only at the first save
        self.tell = tell
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)  # Orbax would for all processes only
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                create=False,
                # `best_fn` alone would drop the newest checkpoint when it isn't the best.
                preservation_policy=AnyPreservationPolicy(
                    [LatestN(2), BestN(get_metric_fn=_score, reverse=True, n=1)]
                ),
                best_fn=_score,
                best_mode="min",
                # Of saves that were cut off; a reader must not touch one that is under way.
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
                # Of several processes one alone reads and writes: the others aren't waited for.
                multiprocessing_options=MultiprocessingOptions(
                    primary_host=jax.process_index(), active_processes={jax.process_index()}
                ),
            ),
        )

    def save(self, step: int, state: PyTree, *, score: float | None = None) -> None:
        """Save a state in the background.

        `score` is the loss that `best` goes by, for a state at the end of an epoch. The state
        may be donated as soon as this returns.

        Raises CheckpointError when this or the save before it failed.
        """
        host_state = jax.device_get(state)
        about = {"step": step, "score": score, "crc32": _crc32(host_state)}
        try:
            # A step that is there already is one that was found damaged: its place is needed.
            if step in self._manager.all_steps():
                self._manager.delete(step)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(host_state), about=ocp.args.JsonSave(about)
                ),
                metrics={"score": score},
                force=True,
            )
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Wait until all is on disk, and let go of the folder.

        Raises CheckpointError when the last save failed.
        """
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError) as failure:
            raise self._failed(failure) from failure
        finally:
            self._manager.close()

    def restore_latest(self, abstract: PyTree) -> Restored | None:
        """The newest checkpoint that is whole, as NumPy arrays; None when there is none at all.

        `abstract` is a pytree of shapes and dtypes. Raises CheckpointError when there are
        checkpoints but none is whole.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        return self._first_whole(steps, abstract)

    def restore_best(self, abstract: PyTree) -> Restored | None:
        """The checkpoint with the lowest score; the newest one when no epoch has ended yet."""
        steps = sorted(self._manager.all_steps(), reverse=True)
        best = self._manager.best_step()
        if best is not None and _score(self._manager.metrics(best) or {}) < math.inf:
            steps.remove(best)
            steps.insert(0, best)
        return self._first_whole(steps, abstract)

    def _first_whole(self, steps: list[int], abstract: PyTree) -> Restored | None:
        for step in steps:
            try:
                return self._restore(step, abstract)
            # What Orbax raises for a damaged file is not documented, and is not one kind.
            except Exception as error:
                reason = str(error).strip().split("\n")[0][:200]
                self.tell(f"The checkpoint of step {step} is damaged, passed over: {reason}")
        if steps:
            raise CheckpointError(
                f"All checkpoints in {self.folder} (steps {', '.join(map(str, steps))}) are "
                "damaged, or of other settings: move the folder away to start from the beginning."
            )
        return None

    def _restore(self, step: int, abstract: PyTree) -> Restored:
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
        found = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target), about=ocp.args.JsonRestore()
            ),
        )
        if found.about["crc32"] != _crc32(found.state):
            raise ValueError("its arrays don't match their checksum")
        return Restored(step, found.state, found.about["score"])

    def _failed(self, error: Exception) -> CheckpointError:
        reason = str(error).strip().split("\n")[0][:300]
        return CheckpointError(
            f"A checkpoint could not be written to {self.folder}: {reason}. Older ones are kept; "
            "make room or mend the folder and start the same command again."
        )


def _crc32(state: PyTree) -> int:
    """Of all arrays with their places and types, in the pytree's order."""
    crc = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.ascontiguousarray(leaf)
        name = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, zlib.crc32(name.encode(), crc))
    return crc
