"""Training: from settings to a trained run, and from a stopped run onwards."""

import json
import math
import os
import time
from collections import deque
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxmusic.atomic import write_atomic
from jaxmusic.checkpoint import Checkpoints
from jaxmusic.config import Config, ConfigError, differences, load_config, save_config
from jaxmusic.console import Console, duration
from jaxmusic.corpus import Corpus, default_corpus_dir, prepare, summary
from jaxmusic.errors import UserError
from jaxmusic.metrics import Meter, MetricsFile
from jaxmusic.order import shuffled
from jaxmusic.parallel import batch_sharding, make_mesh, padded_rows, replicated
from jaxmusic.run import Run, RunError, RunFolder, open_run
from jaxmusic.signals import Stopped, StopSignals
from jaxmusic.state import TrainState, abstract_state, model_structure, new_optimizer, new_state
from jaxmusic.step import eval_step, train_step
from jaxmusic.windows import Feed, Windows, batches_in_order, held_out_songs, stretches

PRIMES = 1024  # windows kept in the run, for generating to start from


class TrainingError(UserError):
    """Training can't go on."""


def fit(config: Config, *, console: Console | None = None) -> Run:
    """Train as the settings say, or go on with the run that `config.run.run_dir` holds.

    Returns the run at its best checkpoint. Raises Stopped (all saved) after SIGTERM or SIGINT,
    and UserError, in its kinds, for what the user has to mend.
    """
    config.check()
    console = console or Console()
    if config.run.run_dir is None:
        raise ConfigError("--run-dir is not given: name a folder for the run.")
    folder = RunFolder(Path(config.run.run_dir))
    if config.run.compilation_cache:
        _use_compilation_cache()

    # Mesh.
    mesh = make_mesh(config.run.devices)
    rows = padded_rows(config.train.batch_size, mesh)

    # Data.
    corpus = _open_corpus(config, console)
    windows, held_out = _cut_windows(config, corpus, console)
    feed = Feed(windows, config.train.batch_size, rows=rows, seed=config.train.seed)
    last_step = config.train.epochs * feed.steps_per_epoch
    last_step = min(last_step, config.train.max_steps or last_step)
    _enter_run(folder, config, corpus, windows)

    # State, and restore.
    checkpoints = Checkpoints(folder.checkpoints, tell=console.say)
    vocabulary_size = len(corpus.vocabulary)
    restored = checkpoints.restore_latest(abstract_state(config, vocabulary_size)._asdict())
    if restored is None:
        state = new_state(config, vocabulary_size)
    else:
        state = TrainState(**restored.state)
        console.say(f"Going on with {folder.path} after step {restored.step:,}.")
    state = jax.device_put(state, replicated(mesh))
    step, saved_step = int(state.step), int(state.step) if restored else -1

    # Compile (at the first call).
    structure = model_structure(config, vocabulary_size)
    do_step = jax.jit(
        partial(
            train_step,
            structure=structure,
            optimizer=new_optimizer(config.train),
            seed=config.train.seed,
            steps_per_epoch=feed.steps_per_epoch,
        ),
        donate_argnums=0,
        out_shardings=replicated(mesh),
    )
    evaluate = jax.jit(partial(eval_step, structure=structure))

    console.say(
        f"{len(windows):,} windows of {config.data.window}, {feed.steps_per_epoch:,} steps an "
        f"epoch, {config.train.epochs:,} epochs, {vocabulary_size:,} tokens; {mesh.size} "
        f"{jax.default_backend()} device{'s' if mesh.size > 1 else ''}"
    )
    metrics = MetricsFile(folder.metrics, from_step=step)
    meter = Meter()
    checkpoint_at = time.monotonic() + 60 * config.run.checkpoint_minutes
    under_way: deque[tuple[int, jax.Array]] = deque()  # steps dispatched, with their loss

    def finish_step() -> None:
        """Wait for the oldest step under way, and tell of it."""
        done, device_loss = under_way.popleft()
        epoch = (done - 1) // feed.steps_per_epoch + 1
        loss = float(device_loss)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} in epoch {epoch}, step {done:,}: the checkpoints before it "
                f"are kept in {folder.checkpoints}; try a smaller --learning-rate."
            )
        meter.count(config.train.batch_size)
        speed = meter.windows_per_second
        if done % config.run.log_steps == 0:
            metrics.write({"step": done, "epoch": epoch, "loss": loss, "windows_per_second": speed})
        text = f"epoch {epoch}/{config.train.epochs}, loss {loss:.4f}"
        if speed is not None:
            left = (last_step - done) * config.train.batch_size / speed
            text += f", {speed:,.0f} windows/s, {duration(left)} left"
        console.show(done, last_step, text)

    # Loop.
    with StopSignals() as stop, console:
        while step < last_step and stop.number is None:
            batch = jax.device_put(feed.batch(step), batch_sharding(mesh))
            state, loss = do_step(state, batch)
            step += 1
            under_way.append((step, loss))
            # One step computes while the next is made ready; more would only delay the news.
            if len(under_way) > 1:
                finish_step()
            epoch_ends = step % feed.steps_per_epoch == 0
            if not epoch_ends and time.monotonic() < checkpoint_at:
                continue
            while under_way:
                finish_step()
            score = None
            if epoch_ends:
                score = _end_epoch(state, step, feed, held_out, rows, evaluate, metrics, console)
            checkpoints.save(step, state._asdict(), score=score)
            saved_step = step
            checkpoint_at = time.monotonic() + 60 * config.run.checkpoint_minutes
            meter.pause()

        # Finish.
        while under_way:
            finish_step()
        if saved_step != step:
            checkpoints.save(step, state._asdict())
        checkpoints.close()
        metrics.close()
    if stop.number is not None and step < last_step:
        console.say(f"Stopped and saved after step {step:,}: the same command goes on from there.")
        raise Stopped(stop.number)
    return open_run(folder.path)


def _open_corpus(config: Config, console: Console) -> Corpus:
    """The corpus that the settings name, prepared first where they name a folder of MIDI."""
    if config.data.corpus is not None:
        corpus = Corpus.open(config.data.corpus)
        if corpus.vocabulary.scheme != config.data.scheme:
            raise ConfigError(
                f"--corpus {corpus.path} is of the scheme {corpus.vocabulary.scheme}, not of "
                f"--scheme {config.data.scheme}: prepare one, or give that scheme."
            )
    else:
        with console:
            corpus = prepare(
                config.data.midi_dir,
                default_corpus_dir(config.data.midi_dir, config.data.scheme),
                scheme=config.data.scheme,
                workers=config.run.workers,
                progress=lambda done, total: console.show(done, total, "MIDI files read"),
            )
    for line in summary(corpus):
        console.say(line)
    return corpus


def _cut_windows(
    config: Config, corpus: Corpus, console: Console
) -> tuple[Windows, Windows | None]:
    """The windows to train on, and those of the songs held out (None: no songs are)."""
    data = config.data
    held = held_out_songs(corpus.songs, data.held_out, seed=config.train.seed)

    def cut(chosen: np.ndarray) -> Windows:
        return Windows(
            corpus.tokens,
            stretches(corpus.offsets, chosen, across_songs=data.across_songs),
            data.window,
            stride=data.stride,
            objective=config.model.objective,
        )

    windows = cut(~held)
    lengths = np.diff(corpus.offsets)
    if not data.across_songs and (short := int((lengths <= data.window).sum())):
        console.say(f"{short:,} songs are shorter than a window and its target: not used")
    if len(windows) == 0:
        longest = int(lengths.max()) if not data.across_songs else int(lengths[~held].sum())
        raise TrainingError(
            f"No window fits: --window {data.window} needs {data.window + 1} tokens in one piece, "
            f"and the longest has {longest}; give more music or a smaller --window."
        )
    if not held.any():
        return windows, None
    held_out = cut(held)
    if len(held_out) == 0:
        raise TrainingError(
            f"--held-out {data.held_out} keeps {int(held.sum())} songs out, all too short for a "
            f"--window of {data.window}: hold out more, or give a smaller window."
        )
    console.say(f"{int(held.sum()):,} songs held out, {len(held_out):,} windows")
    return windows, held_out


def _enter_run(folder: RunFolder, config: Config, corpus: Corpus, windows: Windows) -> None:
    """Begin a run in its folder, or refuse to go on with one that is another training.

    Raises RunError naming what differs.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"--run-dir {folder.path} can't be made: {error.strerror}.") from error
    if folder.config.exists():
        theirs = load_config(folder.config)
        if names := differences(config, theirs):
            raise RunError(
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
        count = min(PRIMES, len(windows))
        chosen = shuffled(np.arange(count), len(windows), seed=config.train.seed, epoch=2**32)
        np.save(folder.primes, windows.gather(chosen)[0])
        corpus.vocabulary.save(folder.vocabulary)
        about = {
            "path": str(corpus.path.resolve()),
            "digest": corpus.digest,
            "tokens": len(corpus.tokens),
            "songs": len(corpus.offsets) - 1,
        }
        write_atomic(folder.corpus, json.dumps(about, indent=2) + "\n")
    save_config(config, folder.config)  # last: it makes the folder a run


def _end_epoch(
    state: TrainState,
    step: int,
    feed: Feed,
    held_out: Windows | None,
    rows: int,
    evaluate: "jax.stages.Wrapped",
    metrics: MetricsFile,
    console: Console,
) -> float:
    """Tell of the epoch that ended with `step`; the loss that `best` goes by."""
    epoch = step // feed.steps_per_epoch
    score = loss = float(state.loss_sum) / float(state.window_sum)
    row = {"step": step, "epoch": epoch, "epoch_loss": loss}
    line = f"epoch {epoch}: loss {loss:.4f}"
    if held_out is not None:
        # Sums stay on the device until all batches are dispatched.
        sums = [
            evaluate(state.params, state.batch_stats, batch)
            for batch in batches_in_order(held_out, rows)
        ]
        score = row["held_out_loss"] = float(np.sum(jax.device_get(sums))) / len(held_out)
        line += f", held out {score:.4f}"
    metrics.write(row)
    console.say(line)
    return score


def _use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder (trusted code: readable to them alone)."""
    if jax.config.jax_compilation_cache_dir is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxmusic" / "xla"
        try:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            return  # no home to keep it in: compiling takes its time at each start
        jax.config.update("jax_compilation_cache_dir", str(cache))
