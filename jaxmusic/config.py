"""Settings: frozen dataclasses and the presets.

The comment above or beside a field is its help on the command line.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jaxmusic.ranges import (
    NOT_NEGATIVE,
    NOT_NEGATIVE_FINITE,
    POSITIVE,
    SEED,
    SHARE,
    BatchSize,
    Count,
    Layers,
    Length,
    Rate,
    Width,
    WidthOrNone,
    at_most,
    check_ranges,
)
from jaxmusic.ranges import ConfigError as ConfigError  # noqa: PLC0414
from jaxmusic.runtime.paths import LocalPath, OptionalPath

Precision = Literal["f32", "tf32", "bf16"]
RecurrenceName = Literal["auto", "scan", "wavefront", "cpu", "pallas"]
Objective = Literal["last", "every"]
OptimizerName = Literal["rmsprop", "adamw"]
ScheduleName = Literal["constant", "cosine"]
BATCH_AXIS = "batch"  # the one axis of the mesh: each device has its own rows of a batch

MOST_SEMITONES = 24
MAX_SKIPPED_SHARE = 0.5


def parse_semitones(flag: str, text: str) -> tuple[int, int]:
    """The lowest and the highest shift of LOW..HIGH. Raises ConfigError, naming the flag."""
    low, dots, high = text.partition("..")
    try:
        found = int(low), int(high)
    except ValueError:
        found = (0, -1)
    if not dots or not -MOST_SEMITONES <= found[0] <= found[1] <= MOST_SEMITONES:
        raise ConfigError(
            f"{flag} is {text}, but must be LOW..HIGH, whole numbers of semitones from "
            f"-{MOST_SEMITONES} to {MOST_SEMITONES}, such as -5..6."
        )
    return found


@dataclass(frozen=True)
class DataConfig:
    """The music to learn from, and how it is cut into windows."""

    # Folder of MIDI files (.mid, .midi, .kar; folders inside it too), prepared at the start.
    midi_dir: LocalPath = "midi_songs"
    # A corpus made by prepare.py, instead of a folder of MIDI files.
    corpus: OptionalPath = None
    # How notes become tokens: classic (pitches and chords, without times), timed (with rhythm), or
    # another tokenizer that is installed.
    scheme: str = "classic"
    # Of files with the same bytes, use only the first.
    deduplicate: bool = False
    # Tokens that the network sees before the one it predicts.
    window: Length = 100
    # Tokens from the start of one window to the start of the next.
    stride: Count = 1
    # Whether a window may run from one song into the next, as in the notebooks.
    across_songs: bool = True
    # Carry the LSTM layers' state from each window of a song to the next (truncated
    # back-propagation through time, Keras's stateful RNN). Each row of a batch goes through songs
    # window by window; the last window of a song is padded, so that all tokens count, and the
    # held-out loss is that of whole songs. Needs a --stride of one window, --no-across-songs and
    # --objective every.
    carry_state: bool = False
    # Share of the songs (0 to below 1) kept out of training, to measure the held-out loss on.
    held_out: Rate = 0.0
    # Instead of a share: hold out the songs whose paths match this pattern, such as 'valid/*'.
    held_out_match: str | None = None
    # Transpose each window by a random number of semitones, LOW..HIGH (as -5..6), another one in
    # each epoch. A window with a token that the corpus has in no such key stays as it is. (With
    # --carry-state so are whole songs.)
    transpose: str | None = None
    # Add the tokens of all those keys to the vocabulary, so that all windows can be transposed.
    extend_vocabulary: bool = False
    # Tokens that the corpus has fewer times become one token, <rare>, which is never generated.
    min_count: Count = 1

    @property
    def transpose_range(self) -> tuple[int, int] | None:
        """The lowest and the highest shift in semitones.

        Raises ConfigError when `transpose` is not of the form LOW..HIGH.
        """
        return None if self.transpose is None else parse_semitones("--transpose", self.transpose)


@dataclass(frozen=True)
class ModelConfig:
    """The network: LSTM layers, then dense ones, with batch norm and dropout between them.

    Dropout that is constant over time has one mask for all positions of a window.
    """

    # How a token enters: its id over the vocabulary's size as one number, or a learned vector.
    input: Literal["scalar", "embedding"] = "scalar"
    # Size of the learned vector (embedding input only).
    embedding_size: Width = 128
    # Units of each LSTM layer.
    hidden_size: Width = 512
    # LSTM layers.
    layers: Layers = 3
    # Units of the dense layer before the output (0: no such layer).
    dense_size: WidthOrNone = 256
    # Whether the output layer's kernel is the embedding (embedding input only), after a linear
    # projection to its size if what comes before has another one.
    tied_output: bool = False
    # Dropout rate before each dense layer, and before the output layer.
    dropout: Rate = 0.3
    # Recurrent dropout rate of all LSTM layers but the last.
    recurrent_dropout: Rate = 0.3
    # Whether the last LSTM layer has recurrent dropout too.
    recurrent_dropout_last: bool = False
    # Share of the tokens of a window that enter as zeros, the others scaled up.
    token_dropout: Rate = 0.0
    # Dropout rate of what enters the first LSTM layer, constant over time.
    input_dropout: Rate = 0.0
    # Dropout rate between LSTM layers, constant over time.
    layer_dropout: Rate = 0.0
    # Dropout rate of the last LSTM layer's output, constant over time.
    output_dropout: Rate = 0.0
    # Share of the recurrent weights of all LSTM layers that a step leaves out (DropConnect).
    weight_drop: Rate = 0.0
    # Whether batch norm follows the LSTM layers and the dense layer.
    batch_norm: bool = True
    # What batch norm's moving averages keep of themselves at each step (0.99 is Keras's).
    batch_norm_momentum: Rate = 0.99
    # Targets: the one token after the window, or the next token at every position.
    objective: Objective = "last"


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained."""

    # Passes over all training windows.
    epochs: Count = 200
    # Windows a step, over all devices together.
    batch_size: BatchSize = 128
    # RMSprop as Keras computes it, or Adam with decoupled weight decay (betas 0.9 and 0.999).
    optimizer: OptimizerName = "rmsprop"
    # The learning rate, which --schedule multiplies.
    learning_rate: Annotated[float, POSITIVE] = 1e-3
    # How the learning rate goes on after the warm-up: constant, or to 0 at the run's last step
    # along half a cosine. (With other --epochs or --max-steps a resumed run follows the cosine of
    # its new length.)
    schedule: ScheduleName = "constant"
    # Steps in which the learning rate first rises from 0, linearly.
    warmup_steps: Annotated[int, NOT_NEGATIVE, at_most(2**31 - 1)] = 0
    # At each step take this times the learning rate off every weight of a matrix (0: no decay).
    weight_decay: Annotated[float, NOT_NEGATIVE_FINITE] = 0.0
    # Scale the gradient down to this norm, over all weights together, where it is longer.
    clip_norm: Annotated[float, POSITIVE] | None = None
    # Evaluate, rank and keep exponential moving averages of the weights, of this decay (0: none).
    ema_decay: Rate = 0.0
    # Of the initial weights, the order of the windows, the dropout and the held-out songs.
    seed: Annotated[int, SEED] = 0
    # Matrix products in float32, or with float32 sums of operands in bfloat16, or on NVIDIA GPUs in
    # TensorFloat-32 (tf32; float32 elsewhere).
    precision: Precision = "f32"
    # Stop after this many steps in all, though epochs are left.
    max_steps: Count | None = None
    # Train for so many minutes instead of --epochs, compiling and evaluating included. How many
    # steps that is, is fixed in the first fifth of them by the speed up to then.
    minutes: Annotated[float, POSITIVE] | None = None
    # Stop when the held-out loss has not become lower for so many epochs.
    patience: Count | None = None

    @property
    def needs_total_steps(self) -> bool:
        """Whether the number of steps of the run is part of its state."""
        return self.schedule != "constant" or self.minutes is not None


@dataclass(frozen=True)
class RunConfig:
    """The run directory, and everything that changes no step."""

    # The run's folder; started again with the same one, training goes on. Default: runs/PRESET.
    run_dir: OptionalPath = None
    # Minutes from one checkpoint to the next; the end of an epoch has one too.
    checkpoint_minutes: Annotated[float, POSITIVE] = 5.0
    # Steps from one row of metrics.jsonl to the next.
    log_steps: Count = 10
    # Skip up to so many steps whose loss or gradient is not finite; they change nothing.
    skip_bad_steps: Annotated[int, NOT_NEGATIVE] = 0
    # Devices to train on, of each process (default: all).
    devices: Count | None = None
    # Where process 0 listens, HOST:PORT (of IPv6 [HOST]:PORT), the same for all processes; another
    # port for each training. Not needed on Cloud TPU, GKE and SLURM, nor for one process.
    coordinator: str | None = None
    # Processes that train together (1: this one alone, whatever the cluster says).
    num_processes: Count | None = None
    # Which of the processes this one is, from 0.
    process_id: int | None = None
    # A corpus of up to so many MiB lies on every device; a larger one is read as it is needed.
    device_corpus_mib: Annotated[float, NOT_NEGATIVE] = 1024.0
    # Steps in one dispatch, for a corpus on the devices (default: as many as take about a tenth
    # of a second, up to 64).
    steps_per_dispatch: Count | None = None
    # How the LSTM layers are computed: by XLA one after the other (scan) or all in one loop
    # (wavefront), by a kernel in C++ (cpu), by one for TPUs (pallas), or by what suits the device
    # (auto: cpu on CPUs, wavefront on GPUs unless a batch has many rows, scan on TPUs).
    recurrence: RecurrenceName = "auto"
    # Processes that parse MIDI files (default: one a core).
    workers: Count | None = None
    # Fail when more than this share of the MIDI files (0 to 1) can't be read.
    max_skipped_share: Annotated[float, SHARE] = MAX_SKIPPED_SHARE
    # Keep compiled programs in the user's cache folder, so that the next start is quick.
    compilation_cache: bool = True


# What may change when a run goes on: nothing here alters what a step computes, beyond rounding
# (which environment.json is for). (The folder or corpus may have moved; that its content is the
# same is checked by its digest.)
CHANGEABLE = frozenset(
    {"midi_dir", "corpus", "epochs", "max_steps"} | {f.name for f in dataclasses.fields(RunConfig)}
)


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def check(self) -> None:
        """Raise ConfigError when a value is out of its range."""
        for part in _parts(self):
            check_ranges(part)
        _ = self.data.transpose_range
        self._check_carry_state()
        if self.data.extend_vocabulary and self.data.transpose is None:
            raise ConfigError(
                "--extend-vocabulary adds the tokens of the keys of --transpose: give that too, "
                "such as --transpose=-5..6."
            )
        if self.model.tied_output and self.model.input != "embedding":
            raise ConfigError(
                f"--tied-output needs an embedding: give --input embedding too, not "
                f"{self.model.input}."
            )
        holds_out = self.data.held_out > 0 or self.data.held_out_match is not None
        if self.train.patience is not None and not holds_out:
            raise ConfigError(
                f"--patience {self.train.patience} needs a held-out loss: give --held-out too, "
                "such as 0.1."
            )

    def _check_carry_state(self) -> None:
        data, objective = self.data, self.model.objective
        if not data.carry_state:
            return
        if data.stride != data.window or data.across_songs or objective != "every":
            across = "--across-songs" if data.across_songs else "--no-across-songs"
            raise ConfigError(
                f"--carry-state needs the windows of each song one after the other: give --stride "
                f"{data.window} (the --window), --no-across-songs and --objective every, not "
                f"--stride {data.stride}, {across} and --objective {objective}."
            )


PRESETS = {
    # The notebook, exactly.
    "classic": Config(),
    # The other notebook: smaller batches, fewer epochs.
    "classic-64": Config(train=TrainConfig(epochs=100, batch_size=64)),
    # All of it in a few minutes on two cores.
    "quick": Config(
        data=DataConfig(stride=50, across_songs=False, held_out=0.1),
        model=ModelConfig(
            input="embedding", embedding_size=64, hidden_size=256, layers=2, dense_size=128,
            dropout=0.4, recurrent_dropout=0.4,
            # So few steps that moving averages of 0.99 would still remember where they began.
            batch_norm_momentum=0.9, objective="every",
        ),
        train=TrainConfig(epochs=26, batch_size=32, learning_rate=6e-3),
    ),
    # Music with rhythm, by a network that is trained to predict songs that it has not seen.
    "modern": Config(
        data=DataConfig(
            scheme="timed", window=256, stride=128, across_songs=False, held_out=0.1,
            transpose="-5..6",
        ),
        model=ModelConfig(
            input="embedding", embedding_size=256, hidden_size=384, layers=2, dense_size=0,
            batch_norm=False, dropout=0.0, token_dropout=0.05, input_dropout=0.2,
            layer_dropout=0.5, output_dropout=0.5, recurrent_dropout=0.25,
            recurrent_dropout_last=True, objective="every",
        ),
        train=TrainConfig(
            minutes=10, batch_size=16, optimizer="adamw", learning_rate=3e-3, schedule="cosine",
            warmup_steps=50, weight_decay=0.02, clip_norm=1.0, ema_decay=0.995,
        ),
    ),
}  # fmt: skip


def split_preset(arguments: list[str]) -> tuple[str, list[str]]:
    """The preset that a command line begins with (none: `classic`), and the rest of it.

    Raises ConfigError when there is no such preset.
    """
    if not arguments or arguments[0].startswith("-"):
        return "classic", arguments
    preset, *rest = arguments
    if preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset}: give one of {', '.join(PRESETS)}.")
    return preset, rest


def differences(ours: Config, theirs: Config) -> list[str]:
    """Names of the fields that differ and may not, when a run goes on."""
    return [
        f.name
        for part, other in zip(_parts(ours), _parts(theirs), strict=True)
        for f in dataclasses.fields(part)
        if f.name not in CHANGEABLE and getattr(part, f.name) != getattr(other, f.name)
    ]


def _parts(config: Config) -> tuple[Any, ...]:
    return (config.data, config.model, config.train, config.run)
