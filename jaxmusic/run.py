"""A trained network, opened from its run directory wherever that was copied."""

import dataclasses
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from flax import nnx

from jaxmusic.config import Config
from jaxmusic.data.dataset import Dataset
from jaxmusic.distributed.devices import find_devices
from jaxmusic.distributed.processes import Processes
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.run_dir.checkpoint import Checkpoints
from jaxmusic.run_dir.folder import RunDir, RunError
from jaxmusic.run_dir.origin import choose_primers, load_origin, load_vocabulary_and_primers
from jaxmusic.storage.file_lock import FileLock
from jaxmusic.tokenizers.vocabulary import Vocabulary
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.state import PyTree, TrainState, abstract_state, model_graphdef


@dataclass(frozen=True)
class Run:
    """A trained network with all that generating needs."""

    path: Path
    config: Config
    vocabulary: Vocabulary
    step: int
    params: PyTree  # nested dicts of NumPy arrays (with --ema-decay their moving averages)
    batch_stats: PyTree  # likewise: batch norm's moving averages
    primers: np.ndarray  # (windows, window) ids of windows of the corpus

    @cached_property
    def graphdef(self) -> nnx.GraphDef[MusicLSTM]:
        """The network without its arrays."""
        return model_graphdef(self.config, len(self.vocabulary))

    @pinned_settings()
    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits of the token after each window, in evaluation mode.

        Args:
            ids: (batch, window) token ids.

        Returns:
            (batch, vocabulary) float32.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"ids must be integers of shape (batch, window), not {ids.shape}")
        logits = _logits(self.params, self.batch_stats, ids, graphdef=self.graphdef)
        return np.asarray(logits)


@partial(jax.jit, static_argnames="graphdef")
def _logits(
    params: PyTree, batch_stats: PyTree, ids: jax.Array, *, graphdef: nnx.GraphDef[MusicLSTM]
) -> jax.Array:
    logits: jax.Array = nnx.merge(graphdef, params, batch_stats)(ids)
    return logits if logits.ndim == 2 else logits[:, -1]


def open_checkpoints(
    folder: RunDir,
    *,
    read_only: bool = False,
    lock: FileLock | None = None,
    log: Callable[[str], None],
) -> Checkpoints:
    """Open the checkpoints of a started run; `log` gets a line for each damaged one.

    They are only saved as long as `lock`, the run's, is held.
    """
    run = load_origin(folder).run
    return Checkpoints(folder.checkpoints, run=run, read_only=read_only, lock=lock, log=log)


@pinned_settings()
def open_run(
    run_dir: str | os.PathLike[str],
    which: Literal["best", "latest"] = "best",
    *,
    log: Callable[[str], None] = warnings.warn,
) -> Run:
    """Open a trained run, wherever its directory was copied.

    `best` is the checkpoint with the lowest loss (held-out, if songs are held out); before an
    epoch has ended it is the latest. `log` gets a line for each damaged checkpoint that is skipped.

    Raises RunError when the folder holds no run or no checkpoint, or is damaged, or has files of
    another run; ConfigError when JAX finds no device.
    """
    folder = RunDir(Path(run_dir))
    if not folder.config.exists():
        raise RunError(
            f"{folder.path} holds no run (no config.json): give the folder that train.py named."
        )
    config = folder.settings()
    vocabulary, primers = load_vocabulary_and_primers(folder, config)
    if not folder.checkpoints.is_dir():
        raise RunError(f"The run {folder.path} has no checkpoint yet: train it further.")
    find_devices()
    abstract = abstract_state(config, len(vocabulary)).to_dict()
    with open_checkpoints(folder, read_only=True, log=log) as checkpoints:
        restored = (
            checkpoints.restore_best(abstract)
            if which == "best"
            else checkpoints.restore_latest(abstract)
        )
    if restored is None:
        raise RunError(f"The run {folder.path} has no checkpoint yet: train it further.")
    state = TrainState(**restored.state)
    return Run(
        path=folder.path,
        config=config,
        vocabulary=vocabulary,
        step=restored.step,
        params=state.evaluated_params,
        batch_stats=state.batch_stats,
        primers=primers,
    )


def open_best_run(
    run_dir: Path,
    config: Config,
    dataset: Dataset,
    processes: Processes,
    log: Callable[[str], None],
) -> Run:
    """Open a run that was trained on a data set, at its best checkpoint, in all processes.

    Process 0 reads and broadcasts it.
    """
    if processes.is_primary:
        run = open_run(run_dir, log=log)
    else:
        abstract = abstract_state(config, dataset.vocabulary_size)
        empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
        run = Run(
            run_dir, config, dataset.token_map.vocabulary, 0, empty.evaluated_params,
            empty.batch_stats, choose_primers(config, dataset.token_map, dataset.windows),
        )  # fmt: skip
    step = processes.broadcast(lambda: run.step)
    params, batch_stats = processes.broadcast_arrays((run.params, run.batch_stats))
    return dataclasses.replace(run, step=step, params=params, batch_stats=batch_stats)
