"""Training, stopping and going on."""

import os
import re
import signal
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.midi_files import write_song
from helpers.small_runs import (
    STEPS_PER_EPOCH,
    assert_same_run,
    changed,
    command,
    rows_of,
    rows_written,
    small_config,
    small_corpus,
    wait_for,
)

from jaxmusic.config import Config, ConfigError
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.data.dataset import DataError
from jaxmusic.data.windows import held_out_songs
from jaxmusic.distributed.signals import Stopped, StopSignals
from jaxmusic.preparation.prepare import prepare
from jaxmusic.run import Run, open_run
from jaxmusic.run_dir.folder import RunDir, RunError
from jaxmusic.storage.file_lock import LockError
from jaxmusic.trainer import fit
from jaxmusic.training.hooks import Hook, Phase
from jaxmusic.training.reporting.reporter import LossError

pytestmark = pytest.mark.slow  # whole trainings


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("songs"))


@pytest.fixture
def config(corpus: Path, tmp_path: Path) -> Config:
    return small_config(corpus, tmp_path / "run")


def test_training_learns_and_keeps_the_best(config: Config) -> None:
    config = changed(config, "train", epochs=12, learning_rate=3e-3)
    run = fit(config)
    epochs = [row for row in rows_of(config.run.run_dir) if "epoch_loss" in row]
    losses = [row["epoch_loss"] for row in epochs]
    assert [row["step"] for row in epochs] == [STEPS_PER_EPOCH * (n + 1) for n in range(12)]
    assert losses[-1] < losses[0] - 0.2
    assert run.step == epochs[int(np.argmin(losses))]["step"]
    assert isinstance(run.params["lstm"][0]["kernel"], np.ndarray)


def test_the_epochs_loss_is_the_mean_over_its_windows(config: Config) -> None:
    """Over windows, not over batches: the last batch of an epoch is smaller."""
    config = changed(changed(config, "run", log_steps=1), "train", epochs=2)
    fit(config)
    rows = rows_of(config.run.run_dir)
    sizes = np.array([26] * 8 + [22])
    assert sizes.sum() == 230
    for epoch in (1, 2):
        losses = np.array([r["loss"] for r in rows if r["epoch"] == epoch and "loss" in r])
        (logged_loss,) = [
            r["epoch_loss"] for r in rows if r["epoch"] == epoch and "epoch_loss" in r
        ]
        assert logged_loss == pytest.approx((losses * sizes).sum() / 230, rel=1e-6)


@pytest.mark.parametrize("stop_after", [1, 5, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 4])
def test_a_run_in_two_parts_equals_one_in_one(
    config: Config, tmp_path: Path, stop_after: int
) -> None:
    whole = changed(config, "run", run_dir=str(tmp_path / "whole"))
    fit(whole)
    fit(changed(config, "train", max_steps=stop_after))
    fit(config)
    assert_same_run(whole.run.run_dir, config.run.run_dir)


def test_more_epochs_go_on_from_the_end(config: Config, tmp_path: Path) -> None:
    whole = changed(changed(config, "run", run_dir=str(tmp_path / "whole")), "train", epochs=3)
    fit(whole)
    fit(changed(config, "train", epochs=1))
    fit(changed(config, "train", epochs=3))
    assert_same_run(whole.run.run_dir, config.run.run_dir)
    assert fit(whole).step > 0  # finished: nothing to do, and no error


@pytest.mark.raises_at("jaxmusic/trainer.py:fit")
def test_a_run_needs_a_folder(config: Config) -> None:
    """The scripts give one in any case."""
    with pytest.raises(ConfigError, match="--run-dir is not given"):
        fit(changed(config, "run", run_dir=None))


def test_other_settings_are_refused_by_name(config: Config) -> None:
    fit(changed(config, "train", max_steps=1))
    with pytest.raises(ConfigError, match=r"other settings \(hidden_size\)"):
        fit(changed(config, "model", hidden_size=9))
    with pytest.raises(ConfigError, match=r"other settings \(window, batch_size, seed\)"):
        fit(changed(changed(config, "train", seed=1, batch_size=2), "data", window=9))


def test_another_corpus_is_refused(config: Config, tmp_path: Path) -> None:
    fit(changed(config, "train", max_steps=1))
    write_song(tmp_path / "other" / "a.mid", 90)
    other = prepare(tmp_path / "other", tmp_path / "corpus", workers=1).path
    with pytest.raises(RunError, match="another corpus"):
        fit(changed(config, "data", corpus=str(other)))


def test_a_corpus_that_moved_is_the_same(config: Config, corpus: Path, tmp_path: Path) -> None:
    fit(changed(config, "train", max_steps=1))
    (tmp_path / "moved").mkdir()
    for path in corpus.iterdir():
        (tmp_path / "moved" / path.name).write_bytes(path.read_bytes())
    config = changed(config, "train", max_steps=2)
    fit(changed(config, "data", corpus=str(tmp_path / "moved")))
    assert open_run(str(config.run.run_dir), "latest").step == 2
    whole = changed(config, "run", run_dir=str(tmp_path / "whole"))
    fit(whole)
    assert_same_run(whole.run.run_dir, config.run.run_dir)


def test_held_out_songs_choose_the_best(config: Config) -> None:
    config = changed(changed(config, "data", held_out=0.3), "train", epochs=4)
    run = fit(config)
    epochs = [row for row in rows_of(config.run.run_dir) if "epoch_loss" in row]
    losses = [row["held_out_loss"] for row in epochs]
    assert run.step == epochs[int(np.argmin(losses))]["step"]
    assert len(set(losses)) == 4
    assert min(losses) == pytest.approx(held_out_loss(config, run), rel=1e-5)


def held_out_loss(config: Config, run: Run) -> float:
    """The mean cross-entropy over the windows held out, in float64, from the run's logits alone."""
    assert config.data.corpus is not None
    corpus = Corpus.open(config.data.corpus)
    held = held_out_songs(corpus.songs, config.data, seed=config.train.seed)
    assert 0 < held.sum() < len(held)
    window = config.data.window
    rows = []
    for song in np.flatnonzero(held):
        tokens = corpus.tokens[corpus.offsets[song] : corpus.offsets[song + 1]]
        rows.append(np.lib.stride_tricks.sliding_window_view(tokens, window + 1))
    every = np.concatenate(rows)
    logits = run.logits(every[:, :-1]).astype(np.float64)
    chosen = np.take_along_axis(logits, every[:, -1:].astype(int), axis=1)[:, 0]
    return float((np.log(np.exp(logits).sum(axis=1)) - chosen).mean())


def test_songs_shorter_than_a_window_are_reported(config: Config) -> None:
    with pytest.raises(DataError, match="--window 60 needs 61 tokens .* longest has 60"):
        fit(changed(config, "data", window=60, across_songs=False))
    with pytest.raises(DataError, match="--window 240 needs 241 tokens .* longest has 240"):
        fit(changed(config, "data", window=240))


def test_a_loss_that_is_no_number_stops_and_is_not_saved(config: Config) -> None:
    words = (
        r"not finite in epoch 1, step 1, on windows from \d\.mid \(token \d+\), .* and 21 more\. "
        r"The checkpoints"
    )
    with pytest.raises(LossError, match=words):
        fit(changed(config, "train", learning_rate=1e38))
    assert not list((Path(str(config.run.run_dir)) / "checkpoints").iterdir())


def test_bad_steps_are_gone_over_as_often_as_allowed(config: Config) -> None:
    """With a learning rate so high every step is bad; also those before a stop are counted."""
    config = changed(config, "train", learning_rate=1e38)
    with pytest.raises(LossError, match=r"step 4, .*--skip-bad-steps 10\."):
        fit(changed(config, "run", skip_bad_steps=3))
    with pytest.raises(LossError, match="All 12 steps were skipped, .* has learned nothing"):
        fit(changed(changed(config, "run", skip_bad_steps=20), "train", max_steps=12))
    rows = rows_of(config.run.run_dir)
    assert [row["step"] for row in rows if "skipped" in row] == list(range(1, 13))
    with pytest.raises(LossError, match="step 15, "):
        fit(changed(config, "run", skip_bad_steps=14))
    with pytest.raises(LossError, match="step 13, "):
        fit(changed(config, "run", skip_bad_steps=1))  # fewer than there were already
    (epoch,) = [row for row in rows if "epoch_loss" in row]
    assert epoch["epoch_loss"] is None
    run = open_run(str(config.run.run_dir), "latest")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.params))


def test_a_second_training_in_the_same_folder_is_refused(config: Config, tmp_path: Path) -> None:
    with RunDir(tmp_path / "run").acquire(), pytest.raises(RunError, match="Another training is"):
        fit(config)
    assert not list((tmp_path / "run").iterdir())
    fit(changed(config, "train", max_steps=1))
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file/run can't be created: Not a directory"):
        fit(changed(config, "run", run_dir=str(tmp_path / "file" / "run")))


def test_a_training_that_lost_its_lock_saves_nothing(config: Config) -> None:
    """Another host takes the run over, while the training is frozen."""

    class LoseLock(Hook):
        def on_phase(self, phase: Phase, step: int) -> None:
            if phase == "restoring":
                RunDir(Path(str(config.run.run_dir))).lock.unlink()

    with pytest.raises(LockError, match=r"\.lock is no longer held by this process: it was"):
        fit(changed(config, "train", max_steps=1), hooks=[LoseLock()])
    assert not list((Path(str(config.run.run_dir)) / "checkpoints").iterdir())


def test_more_devices_than_there_are_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match="--devices 99: there are 1 here"):
        fit(changed(config, "run", devices=99))


def asked_to_stop_after(polls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal comes after the training has polled for one so many times."""

    class Signals(StopSignals):
        left = polls

        def poll(self) -> int | None:
            self.left -= 1
            return None if self.left >= 0 else signal.SIGTERM

    monkeypatch.setattr("jaxmusic.trainer.StopSignals", Signals)


@pytest.mark.parametrize("polls", range(4))
def test_a_signal_at_any_moment_finds_its_step_saved(
    config: Config, monkeypatch: pytest.MonkeyPatch, polls: int
) -> None:
    logged: list[str] = []
    console = Console()
    monkeypatch.setattr(console, "log", logged.append)
    asked_to_stop_after(polls, monkeypatch)
    with pytest.raises(Stopped):
        fit(config, console=console)
    run = open_run(str(config.run.run_dir), "latest")
    assert logged[-1].startswith(f"Stopped and saved after step {run.step}:")
    assert run.step == polls + 1


def test_a_signal_while_evaluating_ends_that_too(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7 steps an epoch, then 2 batches of songs held out: the epoch's row comes when it goes on."""
    config = changed(changed(config, "data", held_out=0.3), "run", steps_per_dispatch=1)
    whole = changed(config, "run", run_dir=str(tmp_path / "whole"))
    fit(whole)
    run_dir = str(config.run.run_dir)
    for epoch, polls in ((1, 7), (2, 7)):
        with monkeypatch.context() as patch:
            # Going on in epoch 2 first evaluates epoch 1: 2 batches, and a poll after them.
            asked_to_stop_after(polls + 3 * (epoch - 1), patch)
            with pytest.raises(Stopped):
                fit(config)
        assert open_run(run_dir, "latest").step == 7 * epoch
        assert sum("epoch_loss" in row for row in rows_of(run_dir)) == epoch - 1
    fit(config)
    assert_same_run(whole.run.run_dir, run_dir)


# Whole processes, stopped from outside.


@pytest.fixture(scope="session")
def uninterrupted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run of 50 epochs that nothing stopped: a signal after four of them finds it training."""
    config = small_config(corpus, tmp_path_factory.mktemp("runs") / "whole", epochs=50)
    subprocess.run(command(config), capture_output=True, timeout=300, check=True)
    return config


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_a_stopped_process_goes_on_bit_for_bit(
    uninterrupted: Config, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    config = changed(uninterrupted, "run", run_dir=str(tmp_path / "run"))
    flags = {"checkpoint-minutes": 0.005}
    with subprocess.Popen(
        command(config, **flags), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        wait_for(lambda: rows_written(config.run.run_dir) > 20, process)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    if number != signal.SIGKILL:
        assert "Stopped and saved after step" in output
    again = subprocess.run(
        command(config, **flags), capture_output=True, text=True, timeout=300, check=True
    )
    gone_on = re.search(r"Going on with .* after step ([\d,]+)\.", again.stdout)
    assert gone_on and 0 < int(gone_on[1].replace(",", "")) < 50 * STEPS_PER_EPOCH

    assert_same_run(uninterrupted.run.run_dir, config.run.run_dir)


@pytest.mark.parametrize("recurrence", ["auto", "wavefront"])
def test_eight_devices_equal_one(recurrence: str, config: Config, tmp_path: Path) -> None:
    """26 rows on 8 devices, 50 steps: filled up to 32, the last batch of an epoch has 22."""
    config = changed(changed(config, "run", log_steps=1), "train", epochs=6, max_steps=50)
    on_eight = changed(config, "run", run_dir=str(tmp_path / "eight"))
    fit(changed(config, "run", devices=1))
    subprocess.run(
        command(on_eight, recurrence=recurrence, **{"max-steps": 50}),
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
        capture_output=True, timeout=300, check=True,
    )  # fmt: skip
    losses, runs = [], []
    for run_dir in (config.run.run_dir, on_eight.run.run_dir):
        losses.append([row["loss"] for row in rows_of(run_dir) if "loss" in row])
        runs.append(open_run(str(run_dir), "latest"))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert len(losses[0]) == 50

    def close(left: np.ndarray, right: np.ndarray) -> None:
        assert np.abs(left - right).max() <= 1e-4 * max(1.0, np.abs(right).max())

    first, second = runs
    jax.tree.map(close, (first.params, first.batch_stats), (second.params, second.batch_stats))


def test_the_console_logs_each_stage(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    fit(changed(config, "data", held_out=0.3), console=Console())
    output = capsys.readouterr().out
    assert "1 songs held out" in output
    assert re.search(r"epoch 1: loss \d\.\d+, held out \d\.\d+", output)
    assert "7 steps an epoch" in output


def test_tf32_elsewhere_than_on_gpus_is_float32_and_logged(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = changed(config, "run", run_dir=str(tmp_path / "other"))
    fit(config, console=Console(silent=True))
    fit(changed(other, "train", precision="tf32"), console=Console())
    assert "(--precision tf32) needs a GPU: this trains in float32" in capsys.readouterr().out
    assert_same_run(config.run.run_dir, other.run.run_dir)
