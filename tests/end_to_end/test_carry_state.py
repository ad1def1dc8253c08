"""Whole trainings with state carried from window to window."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from helpers.programs import QUICK_COMPILATION
from helpers.small_runs import (
    assert_same_run,
    changed,
    command,
    rows_of,
    small_config,
    small_corpus,
)

from jaxmusic.config import Config
from jaxmusic.run import open_run
from jaxmusic.run_dir.checkpoint import Checkpoints
from jaxmusic.trainer import fit
from jaxmusic.training.state import abstract_state

STEPS_PER_EPOCH = 4  # 3 of 4 songs, of 6 windows each, the last one padded: 18 in 5 rows
FLAGS = ["--carry-state", "--no-across-songs", "--objective", "every"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("songs"))


def make_config(corpus: Path, run_dir: Path) -> Config:
    config = small_config(corpus, run_dir, epochs=3)
    data: dict[str, Any] = {"stride": 10, "across_songs": False, "carry_state": True}
    config = changed(config, "data", **data, held_out=0.3, transpose="-2..2")
    config = changed(changed(config, "model", objective="every"), "train", batch_size=5)
    return changed(config, "run", log_steps=1)


@pytest.fixture
def config(corpus: Path, tmp_path: Path) -> Config:
    return make_config(corpus, tmp_path / "run")


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run in one piece, in this process."""
    config = make_config(corpus, tmp_path_factory.mktemp("runs") / "whole")
    fit(config)
    return config


def latest_carries(run_dir: str | Path | None) -> Any:
    run = open_run(str(run_dir), "latest")
    abstract = abstract_state(run.config, len(run.vocabulary)).to_dict()
    with Checkpoints(run.path / "checkpoints", read_only=True) as checkpoints:
        restored = checkpoints.restore_latest(abstract)
    assert restored is not None
    return restored.state["carries"]


@pytest.mark.parametrize("stop_after", [2, STEPS_PER_EPOCH])
def test_a_run_in_two_parts_equals_one_in_one(
    config: Config, whole: Config, stop_after: int
) -> None:
    fit(changed(config, "train", max_steps=stop_after))
    assert all(part.any() for part in jax.tree.leaves(latest_carries(config.run.run_dir)))
    fit(config)
    assert_same_run(whole.run.run_dir, config.run.run_dir)
    epochs = [row["step"] for row in rows_of(config.run.run_dir) if "held_out_loss" in row]
    assert epochs == [STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH, 3 * STEPS_PER_EPOCH]


def test_windows_from_the_host_are_those_on_the_device(config: Config, whole: Config) -> None:
    fit(changed(config, "run", device_corpus_mib=0.0))
    for here, there in zip(rows_of(whole.run.run_dir), rows_of(config.run.run_dir), strict=True):
        assert here == pytest.approx(there, rel=1e-5)


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as free:
        return int(free.getsockname()[1])


def train(config: Config, *, devices: int, processes: int = 1) -> None:
    """In so many processes with so many devices each."""
    given = [
        *command(
            config, stride=10, transpose=config.data.transpose,
            **{"held-out": 0.3, "max-steps": config.train.max_steps},
        ),
        *FLAGS,
    ]  # fmt: skip
    if processes > 1:
        given += ["--coordinator", f"localhost:{free_port()}", "--num-processes", str(processes)]
    environment = {
        **os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices),
        **QUICK_COMPILATION,
    }  # fmt: skip
    started = [
        subprocess.Popen(
            [*given, *(["--process-id", str(number)] if processes > 1 else [])],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number in range(processes)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes, outputs


def test_any_number_of_devices_and_processes_equals_one(config: Config, whole: Config) -> None:
    """5 rows: on 8 devices, then in two processes of 3, then on one, in the middle of songs."""
    train(changed(config, "train", max_steps=3), devices=8)
    train(changed(config, "train", max_steps=6), devices=3, processes=2)
    fit(config)
    ours, theirs = rows_of(config.run.run_dir), rows_of(whole.run.run_dir)
    assert len(ours) == len(theirs) == 3 * (STEPS_PER_EPOCH + 1)
    for here, there in zip(ours, theirs, strict=True):
        assert here == pytest.approx(there, rel=1e-4)
    for left, right in zip(
        jax.tree.leaves(latest_carries(config.run.run_dir)),
        jax.tree.leaves(latest_carries(whole.run.run_dir)),
        strict=True,
    ):
        np.testing.assert_allclose(left, right, atol=1e-4)
