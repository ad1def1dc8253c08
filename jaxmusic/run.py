"""A run's folder: settings, vocabulary, checkpoints, metrics. All that generating needs."""

import os
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from flax import nnx

from jaxmusic.checkpoint import Checkpoints
from jaxmusic.config import Config, load_config
from jaxmusic.errors import UserError
from jaxmusic.model import MusicLSTM
from jaxmusic.state import PyTree, abstract_state, model_structure
from jaxmusic.tokens import Vocabulary


class RunError(UserError):
    """A folder that holds no run, or one that can't be used."""


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run lie."""

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
    def primes(self) -> Path:
        """Windows of the corpus that generating can start from, (windows, window) ids."""
        return self.path / "primes.npy"

    @property
    def metrics(self) -> Path:
        """A row of JSON for every few steps and every epoch."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Orbax's folder."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Generated music."""
        return self.path / "samples"


@dataclass(frozen=True)
class Run:
    """A trained network with all that belongs to it."""

    path: Path
    config: Config
    vocabulary: Vocabulary
    step: int
    params: PyTree  # nested dicts of NumPy arrays
    batch_stats: PyTree  # likewise: batch norm's moving averages
    primes: np.ndarray  # (windows, window) ids of windows of the corpus

    @cached_property
    def structure(self) -> nnx.GraphDef[MusicLSTM]:
        """The network without its arrays."""
        return model_structure(self.config, len(self.vocabulary))

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
        logits = _logits(self.params, self.batch_stats, ids, structure=self.structure)
        return np.asarray(logits)


@partial(jax.jit, static_argnames="structure")
def _logits(
    params: PyTree, batch_stats: PyTree, ids: jax.Array, *, structure: nnx.GraphDef[MusicLSTM]
) -> jax.Array:
    logits: jax.Array = nnx.merge(structure, params, batch_stats)(ids)
    return logits if logits.ndim == 2 else logits[:, -1]


def open_run(
    run_dir: str | os.PathLike[str], which: Literal["best", "latest"] = "best"
) -> Run:
    """Open a trained run, wherever its folder was copied.

    `best` is the checkpoint with the lowest loss (held-out, where songs are held out); as long
    as no epoch has ended it is the latest.

    Raises RunError when the folder holds no run or no checkpoint.
    """
    folder = RunFolder(Path(run_dir))
    if not folder.config.exists():
        raise RunError(
            f"{folder.path} holds no run (no config.json): give the folder that train.py named."
        )
    config = load_config(folder.config)
    try:
        vocabulary = Vocabulary.load(folder.vocabulary)
        primes = np.load(folder.primes, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RunError(f"The run {folder.path} is damaged: {error}") from error
    if not folder.checkpoints.is_dir():
        raise RunError(f"The run {folder.path} has no checkpoint yet: train it further.")
    checkpoints = Checkpoints(folder.checkpoints, read_only=True)
    abstract = abstract_state(config, len(vocabulary))._asdict()
    restored = (
        checkpoints.restore_best(abstract)
        if which == "best"
        else checkpoints.restore_latest(abstract)
    )
    checkpoints.close()
    if restored is None:
        raise RunError(f"The run {folder.path} has no checkpoint yet: train it further.")
    return Run(
        path=folder.path,
        config=config,
        vocabulary=vocabulary,
        step=restored.step,
        params=restored.state["params"],
        batch_stats=restored.state["batch_stats"],
        primes=primes,
    )

