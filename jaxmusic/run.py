"""A run's folder: settings, vocabulary, checkpoints, metrics. All that generating needs."""

import io
import json
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from flax import nnx

from jaxmusic.atomic import write_atomic
from jaxmusic.checkpoint import Checkpoints
from jaxmusic.claim import claimed
from jaxmusic.config import Config, ConfigError, differences, load_config, save_config
from jaxmusic.corpus import Corpus
from jaxmusic.errors import UserError
from jaxmusic.model import MusicLSTM
from jaxmusic.order import shuffled
from jaxmusic.state import PyTree, abstract_state, model_structure
from jaxmusic.tokenmap import TokenMap
from jaxmusic.tokens import Vocabulary
from jaxmusic.windows import Windows

PRIMES = 1024  # windows kept in the run, for generating to start from


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

    def claim(self) -> AbstractContextManager[bool]:
        """Make the folder and hold it, for one training at a time.

        Raises RunError when another training holds it, or it can't be made.
        """

        def refuse() -> None:
            raise RunError(
                f"Another training is at work in --run-dir {self.path}: wait for it, or give "
                "another folder."
            )

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"--run-dir {self.path} can't be made: {error.strerror}.") from error
        return claimed(self.path, refuse)


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


def enter_run(
    folder: RunFolder, config: Config, corpus: Corpus, token_map: TokenMap, windows: Windows
) -> None:
    """Begin a run in its folder, or refuse to go on with one that is another training.

    Raises ConfigError naming the settings that differ, RunError for another corpus.
    """
    if folder.config.exists():
        theirs = load_config(folder.config)
        if names := differences(config, theirs):
            raise ConfigError(
                f"{folder.path} holds a run with other settings ({', '.join(names)}): start the "
                "command with the same ones, or give another --run-dir."
            )
        about = json.loads(folder.corpus.read_text(encoding="utf-8"))
        if about["digest"] != corpus.digest:
            raise RunError(
                f"{folder.path} holds a run on another corpus ({about['tokens']:,} tokens, from "
                f"{about['path']}): give that one, or another --run-dir."
            )
    else:
        primes = io.BytesIO()
        np.save(primes, chosen_primes(config, token_map, windows))
        write_atomic(folder.primes, primes.getvalue())
        token_map.vocabulary.save(folder.vocabulary)
        about = {
            "path": str(corpus.path.resolve()),
            "digest": corpus.digest,
            "tokens": len(corpus.tokens),
            "songs": len(corpus.offsets) - 1,
        }
        write_atomic(folder.corpus, json.dumps(about, indent=2) + "\n")
    save_config(config, folder.config)  # last: it makes the folder a run


def chosen_primes(config: Config, token_map: TokenMap, windows: Windows) -> np.ndarray:
    """Windows of the corpus for generating to start from, (windows, window) ids of the run."""
    count = min(PRIMES, len(windows))
    chosen = shuffled(np.arange(count), len(windows), seed=config.train.seed, epoch=2**32)
    rows = windows.gather(windows.places(chosen))[:, :-1]
    return rows if token_map.table is None else token_map.table[0][rows]


def open_run(run_dir: str | os.PathLike[str], which: Literal["best", "latest"] = "best") -> Run:
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
    abstract = abstract_state(config, len(vocabulary))._asdict()
    with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
        restored = (
            checkpoints.restore_best(abstract)
            if which == "best"
            else checkpoints.restore_latest(abstract)
        )
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
