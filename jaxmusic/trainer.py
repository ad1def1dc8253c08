"""Training: from settings to a trained run, and from a stopped run onwards."""

import dataclasses
import math
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxmusic.config import Config, ConfigError
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.data.batch_sampler import BatchSampler, sequential_batches
from jaxmusic.data.dataset import make_windows, map_tokens, open_corpus
from jaxmusic.data.dispatch_tuner import DispatchTuner
from jaxmusic.data.loader import Loader, make_loader
from jaxmusic.data.token_map import TokenMap
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.devices import local_devices
from jaxmusic.distributed.mesh import local_rows, make_mesh, replicate, shard_rows
from jaxmusic.distributed.processes import Processes, join_processes
from jaxmusic.distributed.signals import Stopped, StopSignals
from jaxmusic.nn.cell import precision_here
from jaxmusic.nn.lstm import can_keep, recurrence_used, why_not_cpu
from jaxmusic.run import (
    Run,
    choose_primers,
    open_checkpoints,
    open_run,
    start_or_resume,
)
from jaxmusic.run_dir.checkpoint import Checkpoints, check_folder
from jaxmusic.run_dir.environment import (
    DEVICE_KIND,
    RECURRENCE,
    Environment,
    EnvironmentFile,
    current_environment,
    merge_environments,
)
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.runtime.allocator import keep_freed_memory
from jaxmusic.runtime.paths import with_local_paths
from jaxmusic.runtime.versions import package_versions, sources_digest
from jaxmusic.storage.file_lock import FileLock
from jaxmusic.tokenizers.tokenizer import get_tokenizer
from jaxmusic.training.compilation_cache import use_compilation_cache
from jaxmusic.training.jax_settings import compile_settings, pinned_settings
from jaxmusic.training.metrics import LossError, Reporter
from jaxmusic.training.programs import evaluation_program, training_program
from jaxmusic.training.state import TrainState, abstract_state, new_state

MOST_STEPS_IN_ALL = 2**31 - 1  # they are counted in int32 on the devices
PLACES_TOLD = 5  # windows of a step that went wrong


class Training(NamedTuple):
    """What is settled before the first step."""

    config: Config
    processes: Processes
    console: Console
    folder: RunDir
    mesh: Mesh
    corpus: Corpus
    token_map: TokenMap
    windows: Windows
    held_out: Windows | None
    sampler: BatchSampler
    last_step: int
    lock: FileLock | None  # of the folder, in the process that writes to it


def fit(config: Config, *, console: Console | None = None) -> Run:
    """Train as the settings say, or go on with the run that `config.run.run_dir` holds.

    Of several processes each has the same run returned; the first one alone reads and writes
    its folder. Returns the run at its best checkpoint. Raises Stopped (all saved) after SIGTERM
    or SIGINT, and UserError, in its kinds, for what the user has to mend.
    """
    config = with_local_paths(config)
    config.check()
    get_tokenizer(config.data.scheme)
    if config.run.run_dir is None:
        raise ConfigError("--run-dir is not given: name a folder for the run.")
    check_folder(Path(config.run.run_dir))
    keep_freed_memory()  # before JAX starts its threads
    with StopSignals() as stop, ExitStack() as stack:
        set_aside = stack.enter_context(pinned_settings())
        processes = join_processes(config.run, _common(config))
        stop.join(processes.gather, processes.leave)
        stack.enter_context(processes.together())
        if config.run.compilation_cache:
            use_compilation_cache()
        console = console or Console(silent=not processes.is_primary)
        if set_aside:
            console.log(
                f"Settings of JAX that are set aside while this trains: {', '.join(set_aside)}. "
                "They would change its numbers, or end it."
            )
        training = _settle(config, processes, console, stack)
        step, stopped_by = _loop(training, stop)
        if stopped_by is not None:
            training.console.log(
                f"Stopped and saved after step {step:,}: the same command goes on from there."
            )
            raise Stopped(stopped_by)
        return _best(training)


def _settle(config: Config, processes: Processes, console: Console, stack: ExitStack) -> Training:
    """Everything that can be checked before anything is compiled.

    The run's folder is held as long as the stack isn't closed.
    """
    # Mesh. (One over different numbers of devices can't be made.)
    processes.require_equal(_common(config) | local_devices())
    mesh = make_mesh(config.run.devices)

    # The run's folder, before songs are prepared for hours; it is held further below.
    folder = RunDir(Path(str(config.run.run_dir)))
    if processes.is_primary:
        folder.check()

    # Data.
    corpus = open_corpus(config, processes, console)
    processes.require_equal({"the digest of the corpus": corpus.digest})
    windows, held_out = make_windows(config, corpus, console)
    token_map = map_tokens(config, corpus, console)
    row_range = local_rows(config.train.batch_size, mesh)
    sampler = BatchSampler(
        windows,
        config.train.batch_size,
        row_range=row_range,
        seed=config.train.seed,
        token_map=token_map,
    )
    last_step = config.train.epochs * sampler.steps_per_epoch
    if config.train.max_steps is not None:
        last_step = min(last_step, config.train.max_steps)
    if last_step > MOST_STEPS_IN_ALL:
        raise ConfigError(
            f"--epochs {config.train.epochs} of {sampler.steps_per_epoch:,} steps are "
            f"{last_step:,} steps, but a run has {MOST_STEPS_IN_ALL:,} at most: give fewer, or "
            "--max-steps."
        )
    console.log(
        f"{len(windows):,} windows of {config.data.window}, {sampler.steps_per_epoch:,} steps an "
        f"epoch, {last_step:,} steps in all; {mesh.size} x {mesh.devices.flat[0].device_kind}"
        + (f" of {processes.count} processes" if processes.count > 1 else "")
    )
    if precision_here(config.train.precision) != config.train.precision:
        console.log("TensorFloat-32 (--precision tf32) is of GPUs: the products are in float32.")
    if config.run.recurrence == "auto" and (reason := why_not_cpu()) is not None:
        console.log(f"Training takes about twice as long as it could: {reason}.")

    lock = None
    if processes.is_primary:
        lock = stack.enter_context(folder.acquire(console.log))
        start_or_resume(folder, config, corpus, token_map, windows)
    return Training(
        config,
        processes,
        console,
        folder,
        mesh,
        corpus,
        token_map,
        windows,
        held_out,
        sampler,
        last_step,
        lock,
    )


def _loop(training: Training, stop: StopSignals) -> tuple[int, int | None]:
    """Train until all is done, or asked to stop: steps done, and the signal that stopped it."""
    config, processes, console, folder, mesh, *_ = training
    sampler, last_step = training.sampler, training.last_step

    # State: new, or as it was left. Process 0 reads and writes it.
    checkpoints = (
        open_checkpoints(folder, lock=training.lock, log=console.log)
        if processes.is_primary
        else None
    )
    step, state, epoch_to_come = _starting_state(training, checkpoints)
    to_do = step < last_step or epoch_to_come
    config, loader = _settle_environment(training, step, to_do=to_do)

    # Programs (compiled when first called).
    vocabulary_size = len(training.token_map.vocabulary)
    do_steps = training_program(
        config, vocabulary_size, mesh, steps_per_epoch=sampler.steps_per_epoch
    )
    do_eval = evaluation_program(config, vocabulary_size, mesh)
    tuner = DispatchTuner(step, loader.capacity, config.run.steps_per_dispatch)
    metrics = folder.metrics if processes.is_primary else None
    reporter = Reporter(
        metrics,
        console,
        config,
        step,
        last_step,
        steps_per_epoch=sampler.steps_per_epoch,
        epoch_to_come=epoch_to_come,
        place_of=partial(_place_of, training),
    )

    # Loop. (A kernel has to be told the mesh: the compiler can't divide it.)
    save_seconds = 60 * config.run.checkpoint_minutes
    save_at = time.monotonic() + save_seconds
    stopped_by: int | None = None
    with ExitStack() as stack:
        stack.enter_context(console)
        stack.enter_context(reporter)
        stack.enter_context(checkpoints or nullcontext())
        stack.callback(loader.close)
        stack.enter_context(jax.set_mesh(mesh))
        console.progress(step, last_step, "compiling")
        stop.compile()
        if training.held_out is not None and to_do:
            # Later a signal would have to wait for it, with an epoch's work to be saved.
            _compile_evaluation(training, training.held_out, state, do_eval)
        while stopped_by is None and (step < last_step or epoch_to_come):
            if not epoch_to_come:
                epoch_end = (step // sampler.steps_per_epoch + 1) * sampler.steps_per_epoch
                count = min(tuner.steps, epoch_end - step, last_step - step)
                with reporter.fetching():
                    batches = loader.take(step, count)
                state, losses = do_steps(state, batches, np.int32(count))
                stop.defer()  # there will be something to save
                step += count
                reporter.steps(step, count, losses)
                # Looked at once a dispatch: a signal that comes later is for the next one.
                stopped_by = stop.poll()
                if tuner.is_measured_after(step):
                    reporter.drain()
                    speed = processes.broadcast(lambda: reporter.meter.windows_per_second)
                    tuner.tune(speed, config.train.batch_size)
                epoch_to_come = step == epoch_end
                if checkpoints is not None:
                    checkpoints.check()
            pausing = step == last_step or stopped_by is not None or time.monotonic() >= save_at
            if epoch_to_come or pausing:
                reporter.drain()
                score = None
                if epoch_to_come:
                    stop.defer()
                    score = _epoch_ends(training, step, state, do_eval, reporter, stop)
                    epoch_to_come = score is None  # stopped before the epoch was evaluated
                    stopped_by = stop.poll()
                reporter.sync()  # a row that a checkpoint counts on is on disk before it
                if checkpoints is not None:
                    checkpoints.save(step, state._asdict(), score=score)
                save_at = time.monotonic() + save_seconds
    done = step >= last_step and not epoch_to_come
    if done:
        _tell_skipped(console, step, processes.broadcast(lambda: reporter.bad_steps))
    return step, None if done else stopped_by


def _tell_skipped(console: Console, steps: int, skipped: int) -> None:
    """At the end of a run. Raises LossError when it has learned nothing."""
    if skipped >= steps:
        raise LossError(
            f"All {steps:,} steps were skipped, as their loss or gradient is no number: the run "
            "has learned nothing. Start another one with a smaller --learning-rate."
        )
    if skipped:
        console.log(f"{skipped:,} of {steps:,} steps were skipped.")


def _starting_state(
    training: Training, checkpoints: Checkpoints | None
) -> tuple[int, TrainState, bool]:
    """Steps done, the state after them on all devices, and whether their epoch is to be evaluated.

    As process 0 has them.
    """
    config, vocabulary_size = training.config, len(training.token_map.vocabulary)
    restored = None
    if checkpoints is not None:
        restored = checkpoints.restore_latest(abstract_state(config, vocabulary_size)._asdict())
    if restored is not None:
        step, state, score = restored.step, TrainState(**restored.state), restored.score
    else:
        step, state, score = 0, new_state(config, vocabulary_size), None
    step, score = training.processes.broadcast(lambda: [step, score])
    placed: TrainState = replicate(training.processes.broadcast_arrays(state), training.mesh)
    if step:
        training.console.log(f"Going on with {training.folder.path} after step {step:,}.")
    # Stopped while it was evaluating: that comes first.
    return step, placed, step > 0 and step % training.sampler.steps_per_epoch == 0 and score is None


def _settle_environment(training: Training, step: int, *, to_do: bool) -> tuple[Config, Loader]:
    """How the steps from `step` on are computed, as those before where that can be.

    Returns the settings for it, and the batches. What has changed is told, and recorded where there
    are steps `to_do`.
    """
    processes, sampler, last_step = training.processes, training.sampler, training.last_step
    file = EnvironmentFile(training.folder.environment, step) if processes.is_primary else None
    config = _keep_recurrence(training, processes.broadcast(lambda: file and file.last))
    loader = make_loader(sampler, training.mesh, config.run, step=step, last_step=last_step)
    if to_do:
        recurrence = _recurrence(training, config)
        processes.require_equal({"how the LSTM layers are computed": recurrence})
        here = merge_environments(
            processes.gather(current_environment(recurrence, training.mesh, loader.capacity))
        )
        if file is not None and (line := file.go_on(here)) is not None:
            training.console.log(line)
    return config, loader


def _keep_recurrence(training: Training, before: Environment | None) -> Config:
    """The settings, with `auto` as the way in which the layers were computed before.

    Where the devices are of the same kind, and still have that way.
    """
    config, mesh = training.config, training.mesh
    if before is None or config.run.recurrence != "auto":
        return config
    kept, chosen = before.get(RECURRENCE), _recurrence(training, config)
    same_kind = before.get(DEVICE_KIND) == mesh.devices.flat[0].device_kind
    if kept == chosen or not same_kind or not can_keep(kept):
        return config
    training.console.log(
        f"The LSTM layers are computed as in this run before, as with --recurrence {kept}. "
        f"(--recurrence {chosen}, which suits this machine, would change bits.)"
    )
    run = dataclasses.replace(config.run, recurrence=kept)
    return dataclasses.replace(config, run=run)


def _recurrence(training: Training, config: Config) -> str:
    with jax.set_mesh(training.mesh):
        return recurrence_used(
            config.run.recurrence,
            layers=config.model.layers,
            steps=config.data.window,
            rows=training.sampler.row_range.total,
        )


def _compile_evaluation(
    training: Training, held_out: Windows, state: TrainState, do_eval: Callable[..., jax.Array]
) -> None:
    batches = sequential_batches(held_out, training.sampler.row_range, training.token_map)
    do_eval(state.params, state.batch_stats, shard_rows(next(batches), training.mesh))


def _epoch_ends(
    training: Training,
    step: int,
    state: TrainState,
    do_eval: Callable[..., jax.Array],
    reporter: Reporter,
    stop: StopSignals,
) -> float | None:
    """Tell the epoch's losses: the one that the best is chosen by; None: stopped before that."""
    held_out_loss = None
    if training.held_out is not None:
        sums: list[jax.Array] = []
        batches = sequential_batches(
            training.held_out, training.sampler.row_range, training.token_map
        )
        for batch in batches:
            sums.append(do_eval(state.params, state.batch_stats, shard_rows(batch, training.mesh)))
            jax.block_until_ready(sums[-2:-1])  # one ahead, so that a signal is soon seen
            if stop.poll() is not None:
                return None
        total = np.sum(jax.device_get(sums), dtype=np.float64)
        held_out_loss = float(total) / len(training.held_out)
    counted = state.window_sum.value()  # 0: every step was skipped
    loss = state.loss_sum.value() / counted if counted else math.nan
    return reporter.epoch(step, loss, held_out_loss)


def _place_of(training: Training, step: int) -> str:
    """Where in the songs the windows of a step begin (of this process's rows, the first few)."""
    index = training.sampler.batch_index(step - 1)
    starts = index.starts[index.weights > 0]
    offsets, names = training.corpus.offsets, training.corpus.songs
    songs = np.searchsorted(offsets, starts[:PLACES_TOLD], side="right") - 1
    told = [
        f"{names[song]} (token {start - offsets[song]})"
        for song, start in zip(songs, starts, strict=False)
    ]
    more = f" and {len(starts) - len(told)} more" if len(starts) > len(told) else ""
    return f", on windows from {', '.join(told)}{more}"


# What processes may have otherwise than each other, beside where things lie.
PRIVATE = {"process_id", "midi_dir", "corpus", "run_dir", "workers", "compilation_cache"}


def _common(config: Config) -> dict[str, Any]:
    """What all processes of a training must have alike, and know before JAX is started."""
    settings = {
        name: value
        for part in dataclasses.asdict(config).values()
        for name, value in part.items()
        if name not in PRIVATE
    }
    versions = {f"the version of {name}": version for name, version in package_versions().items()}
    sources = {"the digest of jaxmusic's sources": sources_digest()}
    return settings | versions | sources | compile_settings()


def _best(training: Training) -> Run:
    """The run at its best checkpoint, which process 0 reads and gives to the others."""
    config, processes, token_map = training.config, training.processes, training.token_map
    if processes.is_primary:
        run = open_run(training.folder.path, log=training.console.log)
    else:
        abstract = abstract_state(config, len(token_map.vocabulary))
        empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
        primers = choose_primers(config, token_map, training.windows)
        run = Run(
            training.folder.path, config, token_map.vocabulary, 0, empty.params, empty.batch_stats,
            primers,
        )  # fmt: skip
    step = processes.broadcast(lambda: run.step)
    params, batch_stats = processes.broadcast_arrays((run.params, run.batch_stats))
    return dataclasses.replace(run, step=step, params=params, batch_stats=batch_stats)
