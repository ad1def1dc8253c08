"""Flags of `benchmark train|scaling|data|prepare|generate`."""

import os
from dataclasses import dataclass
from typing import Literal

import tyro

from jaxmusic.config import Precision
from jaxmusic.runtime.paths import LocalPath, OptionalPath

Preset = tyro.conf.Positional[Literal["classic", "classic-64", "quick", "modern"]]
MUSIC21 = os.environ.get("JAXMUSIC_MUSIC21") or None


@dataclass(frozen=True)
class OutputFlags:
    """Where the figures go, besides the table."""

    # Write machine, versions, settings and every sample to this file.
    json: OptionalPath = None
    # Draw a chart to this file (.png, .svg or .pdf).
    plot: OptionalPath = None
    # List what is slower than in this earlier JSON by more than the noise of this run.
    baseline: OptionalPath = None


@dataclass(frozen=True)
class TrainFlags:
    """Time the training step of a preset, for every combination of the sizes given."""

    # Preset of the network, batch size and precision.
    preset: Preset = "classic"
    # Baselines that run in turn with jaxmusic: any of keras-jax,keras-tensorflow,torch,flax, and
    # of jaxmusic-host,jaxmusic-ready: itself with batches sent by the host, or costing nothing.
    against: str = ""
    # Windows per step (default: the preset's).
    batch_size: tuple[int, ...] = ()
    # Units of each LSTM layer (default: the preset's).
    hidden_size: tuple[int, ...] = ()
    # Matrix products in float32, TensorFloat-32 or bfloat16 (default: the preset's).
    precision: tuple[Precision, ...] = ()
    # Training steps in one compiled program, of jaxmusic only.
    steps_per_dispatch: tuple[int, ...] = (1,)
    # LSTM layers (default: the preset's).
    layers: int | None = None
    # Tokens of a window (default: the preset's).
    window: int | None = None
    # Recurrent dropout rate (default: the preset's). torch and flax have none: 0 makes it fair.
    recurrent_dropout: float | None = None
    # A prepared corpus to take tokens from (default: synthetic ones).
    corpus: OptionalPath = None
    # Distinct synthetic tokens.
    vocabulary_size: int = 359
    # Rounds of each contestant; with fewer than 7 the figures are only an impression.
    rounds: int = 7
    # A round has 2 steps or more, and as many as fill this time.
    round_seconds: float = 2.0
    # Also time the parts of jaxmusic's step, each alone.
    parts: bool = False
    # Side of the square matrices whose product is the measured peak.
    product_size: int = 4096


@dataclass(frozen=True)
class ScalingFlags:
    """Time a preset's training on more and more devices, and in several processes."""

    # Preset of the network, batch size and precision.
    preset: Preset = "classic"
    # Devices, over all processes. One is always measured: the others are compared with it.
    # On CPUs they are virtual; of GPUs and TPUs as many are used as there are.
    devices: tuple[int, ...] = (1, 2, 4, 8)
    # Processes that share the devices equally; numbers that can't are skipped.
    processes: tuple[int, ...] = (1, 2)
    # Windows per step, over all devices (default: the preset's).
    batch_size: int | None = None
    # Weak scaling: this many windows for each device, instead of over all devices (strong).
    weak: bool = False
    # Units of each LSTM layer (default: the preset's).
    hidden_size: int | None = None
    # LSTM layers (default: the preset's).
    layers: int | None = None
    # Tokens of a window (default: the preset's).
    window: int | None = None
    # Matrix products in float32, TensorFloat-32 or bfloat16 (default: the preset's).
    precision: Precision | None = None
    # Distinct synthetic tokens.
    vocabulary_size: int = 359
    # Rounds of each configuration; with fewer than 7 the figures are only an impression.
    rounds: int = 7
    # A round has 2 steps or more, and as many as fill this time.
    round_seconds: float = 2.0
    # All rounds of one configuration, then those of the next: for TPUs, which serve one process
    # at a time, and where memory can't hold all. Disturbances then hit some more than others.
    one_at_a_time: bool = False


@dataclass(frozen=True)
class DataFlags:
    """Time reading MIDI files and making batches, each against baselines."""

    # Folder of MIDI files (.mid, .midi, .kar), searched with its subfolders.
    midi_dir: tyro.conf.Positional[LocalPath] = "midi_songs"
    # Read each file this many times over, as a larger set.
    copies: int = 1
    # Windows of a batch.
    batch_size: int = 128
    # Processes of jaxmusic, besides a run with one (default: one per core).
    workers: int | None = None
    # Folder that holds music21, unless pip installed it (it is old and best kept apart).
    music21: OptionalPath = MUSIC21
    # Files that music21 reads, spread over the set: it takes a second for some.
    music21_files: int = 5
    # Rounds of each contestant; with fewer than 7 the figures are only an impression.
    rounds: int = 7
    # A round is one pass over the files or more, as many as fill this time.
    round_seconds: float = 1.0


@dataclass(frozen=True)
class PrepareFlags:
    """Time preparing large sets of files, made of small ones, and the memory it takes."""

    # Files of each set.
    files: tuple[int, ...] = (1_000,)
    # Songs that the sets are made of.
    midi_dir: LocalPath = "midi_songs"
    # Seed of the sets.
    seed: int = 0
    # Folder for the sets, which are reused from it (default: a temporary one).
    sets: OptionalPath = None
    # Worker processes, besides a run with one (default: one per core).
    workers: int | None = None
    # Rounds of each way to prepare; with fewer than 7 the figures are only an impression.
    rounds: int = 7


@dataclass(frozen=True)
class GenerateFlags:
    """Time generating with a preset's untrained network, against Keras with a window per note."""

    # Preset of the network.
    preset: Preset = "classic"
    # Baselines: keras-jax, keras-tensorflow, both, or none ("").
    against: str = "keras-jax,keras-tensorflow"
    # Pieces generated at a time.
    pieces: tuple[int, ...] = (1, 8)
    # Tokens of each of jaxmusic's pieces.
    length: int = 200
    # Units of each LSTM layer (default: the preset's).
    hidden_size: int | None = None
    # Tokens of a window (default: the preset's).
    window: int | None = None
    # Distinct tokens.
    vocabulary_size: int = 359
    # Rounds of each contestant; with fewer than 7 the figures are only an impression.
    rounds: int = 7
    # A round has as many tokens of each piece as fill this time.
    round_seconds: float = 1.0
