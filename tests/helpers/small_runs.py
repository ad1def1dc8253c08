"""Small trainings, for the tests of whole runs: settings, processes, and what they wrote."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_injection.comparison import difference, metrics_rows
from helpers.midi_files import write_song
from helpers.paths import SCRIPTS

from jaxmusic.config import Config, DataConfig, ModelConfig, RunConfig, TrainConfig
from jaxmusic.preparation.prepare import prepare

TRAIN = SCRIPTS / "train.py"
STEPS_PER_EPOCH = 9  # 4 songs of 60 tokens in a row, windows of 10: 230 of them, 26 a step


def small_corpus(folder: Path, *, scheme: str = "classic") -> Path:
    """Prepare a corpus of 4 songs in a new folder, and give its path."""
    for number in range(4):
        write_song(folder / f"{number}.mid", 60, seed=number)
    return prepare(folder, folder / "corpus", scheme=scheme, workers=1).path


def small_config(corpus: Path, run_dir: Path, epochs: int = 2) -> Config:
    """With dropout on: what is resumed must resume that too."""
    return Config(
        data=DataConfig(corpus=str(corpus), window=10),
        model=ModelConfig(hidden_size=8, dense_size=6, layers=2),
        train=TrainConfig(epochs=epochs, batch_size=26),
        run=RunConfig(run_dir=str(run_dir), log_steps=2, compilation_cache=False),
    )


def changed(config: Config, part: str, **values: Any) -> Config:
    return dataclasses.replace(
        config, **{part: dataclasses.replace(getattr(config, part), **values)}
    )


def rows_of(run_dir: str | Path | None) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without what no two runs share."""
    assert run_dir is not None
    return metrics_rows(Path(run_dir))


def assert_same_run(left: str | Path | None, right: str | Path | None) -> None:
    """Bit for bit: all of the latest state, the best checkpoint, the metrics."""
    assert left is not None and right is not None
    assert difference(Path(left), Path(right)) == ""


def command(config: Config, **flags: Any) -> list[str]:
    given = {
        "corpus": config.data.corpus, "window": config.data.window,
        "hidden-size": config.model.hidden_size, "dense-size": config.model.dense_size,
        "layers": config.model.layers, "epochs": config.train.epochs,
        "batch-size": config.train.batch_size, "run-dir": config.run.run_dir,
        "log-steps": config.run.log_steps, **flags,
    }  # fmt: skip
    pairs = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return [sys.executable, str(TRAIN), "classic", *pairs, "--no-compilation-cache"]


def rows_written(run_dir: str | None) -> int:
    assert run_dir is not None
    path = Path(run_dir) / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
