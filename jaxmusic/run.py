"""A run's folder: settings, vocabulary, checkpoints, metrics. All that generating needs."""

import io
import json
import os
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import jax
import msgspec
import numpy as np
from flax import nnx

from jaxmusic.config import Config, ConfigError, differences
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.data.shuffle import shuffle
from jaxmusic.data.token_map import TokenMap
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.devices import find_devices
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.run_dir.checkpoint import Checkpoints
from jaxmusic.run_dir.config_file import save_config
from jaxmusic.run_dir.folder import RunDir, RunError
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import refuse_link, remove_abandoned, write_atomic
from jaxmusic.storage.file_lock import FileLock
from jaxmusic.storage.reading import Count, file_digest, map_array, read_json, read_verified
from jaxmusic.tokenizers.tokenizer import check_tokens, get_tokenizer
from jaxmusic.tokenizers.vocabulary import RARE, Vocabulary
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.state import PyTree, abstract_state, model_graphdef

PRIMERS = 1024  # windows kept in the run, for generating to start from


class RunOrigin(msgspec.Struct, frozen=True):
    """The corpus.json of a run: what it is trained on."""

    path: str  # of its corpus
    digest: str  # of its corpus
    tokens: Count
    songs: Count
    run: str  # its name, which its checkpoints hold too
    digests: dict[str, str]  # of what belongs to its weights, and may not be another run's

    def save(self, path: Path) -> None:
        """Write it, whole or not at all. Raises WriteError."""
        write_atomic(path, json.dumps(msgspec.structs.asdict(self), indent=2) + "\n")


@dataclass(frozen=True)
class Run:
    """A trained network with all that belongs to it."""

    path: Path
    config: Config
    vocabulary: Vocabulary
    step: int
    params: PyTree  # nested dicts of NumPy arrays
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


def start_or_resume(
    folder: RunDir, config: Config, corpus: Corpus, token_map: TokenMap, windows: Windows
) -> None:
    """Begin a run in its folder, or refuse to go on with one that is another training.

    Raises ConfigError naming the settings that differ, RunError for another corpus, for a run that
    is damaged, or has files of another one, and for a folder that holds something else, WriteError
    where its checkpoints lie elsewhere.
    """
    folder.check()
    refuse_link(folder.checkpoints)
    remove_abandoned(folder.path)
    if folder.config.exists():
        theirs = folder.settings()
        if names := differences(config, theirs):
            raise ConfigError(
                f"{folder.path} holds a run with other settings ({', '.join(names)}): start the "
                "command with the same ones, or give another --run-dir."
            )
        about = _origin(folder)
        if about.digest != corpus.digest:
            raise RunError(_other_corpus(folder, about, corpus))
        vocabulary, _ = _vocabulary_and_primers(folder, theirs)
        if vocabulary != token_map.vocabulary:
            raise _damaged(folder, "vocabulary.json has other tokens than its corpus")
    else:
        about = RunOrigin(
            path=str(corpus.path.resolve()),
            digest=corpus.digest,
            tokens=len(corpus.tokens),
            songs=len(corpus.offsets) - 1,
            run=uuid.uuid4().hex,
            digests={},
        )
        # First of all, for it proves what the folder is, should this be stopped.
        about.save(folder.corpus)
        primers = io.BytesIO()
        np.save(primers, choose_primers(config, token_map, windows))
        write_atomic(folder.primers, primers.getvalue())
        token_map.vocabulary.save(folder.vocabulary)
        digests = {path.name: file_digest(path) for path in _digested(folder)}
        msgspec.structs.replace(about, digests=digests).save(folder.corpus)
    save_config(config, folder.config)  # last: it makes the folder a run


def _other_corpus(folder: RunDir, about: RunOrigin, corpus: Corpus) -> str:
    """Why a run can't go on with a corpus that isn't its own."""
    if about.path != str(corpus.path.resolve()):
        return (
            f"{folder.path} holds a run on another corpus ({about.tokens:,} tokens, from "
            f"{printable(about.path)}): give that one, or another --run-dir."
        )
    return (
        f"The songs in the corpus {printable(corpus.path)} have changed since the run "
        f"{folder.path} began ({about.tokens:,} tokens then, {len(corpus.tokens):,} now), and it "
        "can't go on with others: bring back the songs as they were, or give another --run-dir."
    )


def choose_primers(config: Config, token_map: TokenMap, windows: Windows) -> np.ndarray:
    """Windows of the corpus for generating to start from, (windows, window) ids of the run."""
    count = min(PRIMERS, len(windows))
    chosen = shuffle(np.arange(count), len(windows), seed=config.train.seed, epoch=2**32)
    rows = windows.gather(windows.offsets(chosen))[:, :-1]
    return rows if token_map.table is None else token_map.table[0][rows]


def open_checkpoints(
    folder: RunDir,
    *,
    read_only: bool = False,
    lock: FileLock | None = None,
    log: Callable[[str], None],
) -> Checkpoints:
    """The checkpoints of a run that was entered; `log` gets a line for each that is damaged.

    They are saved as long as the run's lock is held.
    """
    run = _origin(folder).run
    return Checkpoints(folder.checkpoints, run=run, read_only=read_only, lock=lock, log=log)


@pinned_settings()
def open_run(
    run_dir: str | os.PathLike[str],
    which: Literal["best", "latest"] = "best",
    *,
    log: Callable[[str], None] = warnings.warn,
) -> Run:
    """Open a trained run, wherever its folder was copied.

    `best` is the checkpoint with the lowest loss (held-out, where songs are held out); as long
    as no epoch has ended it is the latest. `log` gets a line for each that is damaged and passed
    over; mostly that is a warning.

    Raises RunError when the folder holds no run or no checkpoint, or is damaged, or has files of
    another run; ConfigError when JAX finds no device.
    """
    folder = RunDir(Path(run_dir))
    if not folder.config.exists():
        raise RunError(
            f"{folder.path} holds no run (no config.json): give the folder that train.py named."
        )
    config = folder.settings()
    vocabulary, primers = _vocabulary_and_primers(folder, config)
    if not folder.checkpoints.is_dir():
        raise RunError(f"The run {folder.path} has no checkpoint yet: train it further.")
    find_devices()
    abstract = abstract_state(config, len(vocabulary))._asdict()
    with open_checkpoints(folder, read_only=True, log=log) as checkpoints:
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
        primers=primers,
    )


def _damaged(folder: RunDir, what: object) -> RunError:
    return RunError(
        f"The run {folder.path} is damaged: {what}. Copy it again, whole, or train anew in another "
        "folder."
    )


def _origin(folder: RunDir) -> RunOrigin:
    """What the run's corpus.json tells. Raises RunError when it is damaged."""
    return read_verified(
        folder.corpus, partial(read_json, kind=RunOrigin), partial(_damaged, folder)
    )


def _digested(folder: RunDir) -> tuple[Path, ...]:
    return (folder.vocabulary, folder.primers)


def _vocabulary_and_primers(folder: RunDir, config: Config) -> tuple[Vocabulary, np.ndarray]:
    """What belongs to the run's weights. Raises RunError for damage, or another run's files."""
    get_tokenizer(config.data.scheme)  # a run whose scheme isn't installed here is not damaged
    damaged = partial(_damaged, folder)
    digests = _origin(folder).digests
    vocabulary = read_verified(folder.vocabulary, Vocabulary.load, damaged)
    most = PRIMERS * config.data.window * 8 + 128  # numbers of 8 bytes at most, after a header
    primers = np.array(read_verified(folder.primers, partial(map_array, most=most), damaged))
    for path in _digested(folder):
        if read_verified(path, file_digest, damaged) != digests.get(path.name):
            raise damaged(f"{path.name} is not the one that the run began with")
    if vocabulary.scheme != config.data.scheme:
        raise damaged(f"vocabulary.json is of the scheme {vocabulary.scheme!r}")
    try:
        check_tokens((t for t in vocabulary.tokens if t != RARE), vocabulary.scheme)
    except ValueError as error:
        raise damaged(f"vocabulary.json: {error}") from None
    window = config.data.window
    if primers.ndim != 2 or primers.shape[1] != window:
        raise damaged(f"primes.npy has the shape {primers.shape}, not (any, {window})")
    if primers.min() < 0 or primers.max() >= len(vocabulary):
        raise damaged(f"primes.npy has tokens beyond a vocabulary of {len(vocabulary)}")
    return vocabulary, primers
