"""Training: from settings to a trained run, and from a stopped run onwards."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxmusic.checkpoint import Checkpoints
from jaxmusic.compilation import use_compilation_cache
from jaxmusic.config import Config, ConfigError
from jaxmusic.console import Console
from jaxmusic.data import cut_windows, open_corpus
from jaxmusic.lstm import why_not_cpu
from jaxmusic.memory import keep_freed_memory
from jaxmusic.metrics import Reporter
from jaxmusic.parallel import batch_sharding, make_mesh, padded_rows, replicated
from jaxmusic.run import Run, RunFolder, enter_run, open_run
from jaxmusic.signals import Stopped, StopSignals
from jaxmusic.state import TrainState, abstract_state, model_structure, new_optimizer, new_state
from jaxmusic.step import eval_step, train_step
from jaxmusic.windows import Batch, Feed, Windows, batches_in_order


def fit(config: Config, *, console: Console | None = None) -> Run:
    """Train as the settings say, or go on with the run that `config.run.run_dir` holds.

    Returns the run at its best checkpoint. Raises Stopped (all saved) after SIGTERM or SIGINT,
    and UserError, in its kinds, for what the user has to mend.
    """
    config.check()
    if config.run.run_dir is None:
        raise ConfigError("--run-dir is not given: name a folder for the run.")
    console = console or Console()
    folder = RunFolder(Path(config.run.run_dir))
    if config.run.compilation_cache:
        use_compilation_cache()
    keep_freed_memory()  # before JAX starts its threads

    # Mesh.
    mesh = make_mesh(config.run.devices)
    put = partial(jax.device_put, device=batch_sharding(mesh))

    # Data.
    corpus = open_corpus(config, console)
    windows, held_out = cut_windows(config, corpus, console)
    rows = padded_rows(config.train.batch_size, mesh)
    feed = Feed(windows, config.train.batch_size, rows=rows, seed=config.train.seed)
    last_step = config.train.epochs * feed.steps_per_epoch
    if config.train.max_steps is not None:
        last_step = min(last_step, config.train.max_steps)
    vocabulary_size = len(corpus.vocabulary)
    console.say(
        f"{len(windows):,} windows of {config.data.window}, {feed.steps_per_epoch:,} steps an "
        f"epoch, {last_step:,} steps in all; {mesh.size} x {mesh.devices.flat[0].device_kind}"
    )
    if config.run.recurrence == "auto" and (reason := why_not_cpu()) is not None:
        console.say(f"Training takes about twice as long as it could: {reason}.")
    enter_run(folder, config, corpus, windows)

    # State: new, or as it was left.
    checkpoints = Checkpoints(folder.checkpoints, tell=console.say)
    restored = checkpoints.restore_latest(abstract_state(config, vocabulary_size)._asdict())
    state = TrainState(**restored.state) if restored else new_state(config, vocabulary_size)
    state = jax.device_put(state, replicated(mesh))
    step = restored.step if restored else 0
    if restored:
        console.say(f"Going on with {folder.path} after step {step:,}.")

    # Programs (compiled when first called).
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
    do_eval = jax.jit(partial(eval_step, structure=structure))
    reporter = Reporter(
        folder.metrics,
        console,
        from_step=step,
        last_step=last_step,
        steps_per_epoch=feed.steps_per_epoch,
        batch_size=config.train.batch_size,
        log_steps=config.run.log_steps,
    )

    # Loop. (A kernel has to be told the mesh: the compiler can't divide it.)
    save_seconds = 60 * config.run.checkpoint_minutes
    save_at = time.monotonic() + save_seconds
    stopped_by: int | None = None
    with StopSignals() as stop, console, reporter, checkpoints, jax.set_mesh(mesh):
        console.show(step, last_step, "compiling")
        while step < last_step and stopped_by is None:
            state, loss = do_step(state, put(feed.batch(step)))
            step += 1
            reporter.step(step, loss)
            epoch_ends = step % feed.steps_per_epoch == 0
            # Looked at once a step: a signal that comes later is for the next step, which saves.
            stopped_by = stop.number
            pausing = step == last_step or stopped_by is not None or time.monotonic() >= save_at
            if epoch_ends or pausing:
                reporter.drain()
                score = None
                if epoch_ends:
                    score = epoch_loss = float(state.loss_sum) / float(state.window_sum)
                    held_out_loss = None
                    if held_out is not None:
                        score = held_out_loss = _mean_loss(do_eval, state, held_out, rows, put)
                    reporter.epoch(step, epoch_loss, held_out_loss)
                checkpoints.save(step, state._asdict(), score=score)
                save_at = time.monotonic() + save_seconds

    # Finish.
    if stopped_by is not None and step < last_step:
        console.say(f"Stopped and saved after step {step:,}: the same command goes on from there.")
        raise Stopped(stopped_by)
    return open_run(folder.path)


def _mean_loss(
    do_eval: Callable[..., jax.Array],
    state: TrainState,
    windows: Windows,
    rows: int,
    put: Callable[[Batch], Batch],
) -> float:
    """The loss in evaluation mode, the mean over all the windows."""
    # The sums stay on the device until all batches are dispatched.
    sums = [
        do_eval(state.params, state.batch_stats, put(batch))
        for batch in batches_in_order(windows, rows)
    ]
    return float(np.sum(jax.device_get(sums), dtype=np.float64)) / len(windows)
