"""What every program of a comparison runs: one network, one batch shape, one token stream."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxmusic.config import Config, ConfigError, DataConfig, ModelConfig, TrainConfig
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.data.batch import Batch
from jaxmusic.data.batch_sampler import BatchSampler
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.row_range import RowRange

SYNTHETIC_TOKENS = 57_177  # 57,077 windows of 100: the size of the notebooks' own set


@dataclass(frozen=True)
class Workload:
    """A network and its batches, the same for all programs of a comparison."""

    model: ModelConfig
    train: TrainConfig
    window: int = 100  # tokens
    vocabulary_size: int = 359  # of synthetic tokens; a corpus brings its own
    corpus: str | None = None  # a prepared corpus's folder; None: synthetic tokens
    # Of jaxmusic only: training steps in one dispatch, and where batches come from (ready: the
    # same batches every time, which cost nothing).
    steps_per_dispatch: int = 1
    fed_from: Literal["devices", "host", "ready"] = "devices"

    @property
    def config(self) -> Config:
        """jaxmusic's settings."""
        return Config(data=DataConfig(window=self.window), model=self.model, train=self.train)

    @property
    def label(self) -> str:
        """The workload in words, distinct within a sweep."""
        words = [
            f"{self.model.layers} x {self.model.hidden_size}",
            f"window {self.window}",
            f"batch {self.train.batch_size}",
            self.train.precision,
        ]
        if self.model.objective == "every":
            words.append("every next token")
        if self.model.recurrent_dropout == 0:
            words.append("no recurrent dropout")
        if self.steps_per_dispatch > 1:
            words.append(f"{self.steps_per_dispatch} steps a dispatch")
        return ", ".join(words)

    def without_dropout(self) -> "Workload":
        """The same with all dropout off, for comparing losses."""
        model = dataclasses.replace(self.model, dropout=0.0, recurrent_dropout=0.0)
        return dataclasses.replace(self, model=model)

    def sampler(self, rows: int | None = None) -> BatchSampler:
        """The batches; the same ones in every process. `rows` of each (default: its size)."""
        if self.corpus is not None:
            tokens = Corpus.open(self.corpus).tokens
        else:
            random = np.random.default_rng(self.train.seed)
            tokens = random.integers(self.vocabulary_size, size=SYNTHETIC_TOKENS, dtype=np.uint16)
        windows = Windows(tokens, [(0, len(tokens))], self.window, objective=self.model.objective)
        if len(windows) < self.train.batch_size:
            raise ConfigError(
                f"--batch-size {self.train.batch_size}: the tokens give {len(windows):,} windows "
                f"of {self.window}; give a smaller one, or more tokens."
            )
        row_range = None if rows is None else RowRange.all(rows)
        return BatchSampler(
            windows, self.train.batch_size, seed=self.train.seed, row_range=row_range
        )

    def full_batches(self, sampler: BatchSampler, step: int, count: int) -> list[Batch]:
        """`count` batches without filling, from a step on, skipping each epoch's smaller last."""
        full = len(sampler.windows) // self.train.batch_size
        steps = np.arange(step, step + count)
        return [sampler.batch(int(s // full * sampler.steps_per_epoch + s % full)) for s in steps]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Workload":
        """From what `to_json` gave."""
        parts = {
            "model": ModelConfig(**document["model"]),
            "train": TrainConfig(**document["train"]),
        }
        return cls(**{**document, **parts})


def forward_flop(workload: Workload) -> int:
    """Count the FLOP of the matrix products of one window's forward pass: 2 m n k each."""
    model = workload.model
    features = 1 if model.input == "scalar" else model.embedding_size
    per_token = 0
    for _ in range(model.layers):
        per_token += 2 * (features + model.hidden_size) * 4 * model.hidden_size
        features = model.hidden_size
    head = 0
    if model.dense_size:
        head += 2 * features * model.dense_size
        features = model.dense_size
    if model.tied_output:
        head += 2 * features * model.embedding_size * (features != model.embedding_size)
        features = model.embedding_size
    head += 2 * features * workload.vocabulary_size
    targets = workload.window if model.objective == "every" else 1
    return per_token * workload.window + head * targets


def training_flop(workload: Workload) -> int:
    """Count the FLOP of training on one window: backward has two products for each forward one."""
    return 3 * forward_flop(workload)
