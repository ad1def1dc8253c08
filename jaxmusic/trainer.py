"""Training: `fit` starts a run, or resumes it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from jaxmusic.config import Config, ConfigError
from jaxmusic.console import Console
from jaxmusic.data.batch import Sampler
from jaxmusic.data.dataset import Dataset, load_dataset
from jaxmusic.data.dispatch_tuner import DispatchTuner
from jaxmusic.data.songs.windows import SongWindows
from jaxmusic.distributed.devices import local_devices
from jaxmusic.distributed.mesh import local_rows, make_mesh
from jaxmusic.distributed.processes import Processes, join_processes
from jaxmusic.distributed.signals import Stopped, StopSignals
from jaxmusic.evaluation.held_out import HeldOutEvaluator
from jaxmusic.evaluation.metrics import HELD_OUT_LOSS
from jaxmusic.evaluation.whole_songs import WholeSongEvaluator
from jaxmusic.run import Run, open_best_run, open_checkpoints
from jaxmusic.run_dir.checkpoint import Checkpoints, check_folder
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.run_dir.origin import start_or_resume
from jaxmusic.run_dir.recurrence import log_compromises
from jaxmusic.run_dir.start import Start, restore_or_init, settle_environment
from jaxmusic.runtime.allocator import keep_freed_memory
from jaxmusic.runtime.paths import with_local_paths
from jaxmusic.storage.file_lock import FileLock
from jaxmusic.tokenizers.tokenizer import get_tokenizer
from jaxmusic.training.hooks import Hook, Hooks
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.process.common_settings import common_settings
from jaxmusic.training.process.compilation_cache import use_compilation_cache
from jaxmusic.training.programs import training_program
from jaxmusic.training.reporting.reporter import Reporter
from jaxmusic.training.run_length import RunLength
from jaxmusic.training.state import TrainState


@dataclass(frozen=True)
class Training:
    """Everything that is fixed before the first step."""

    config: Config
    processes: Processes
    console: Console
    hooks: Hook
    mesh: Mesh
    dataset: Dataset
    sampler: Sampler
    length: RunLength
    run_dir: RunDir
    lock: FileLock | None  # of the run directory, in process 0


def fit(config: Config, *, console: Console | None = None, hooks: Sequence[Hook] = ()) -> Run:
    """Train with these settings, or resume the run in `config.run.run_dir`.

    Returns the run at its best checkpoint, in every process. Only process 0 reads and writes the
    run directory.

    Raises Stopped (all saved) after SIGTERM or SIGINT, and kinds of UserError for what the user
    has to fix.
    """
    # Settings.
    config = with_local_paths(config)
    config.check()
    get_tokenizer(config.data.scheme)
    if config.run.run_dir is None:
        raise ConfigError("--run-dir is not given: name a folder for the run.")
    check_folder(Path(config.run.run_dir))
    keep_freed_memory()  # before JAX starts its threads
    with StopSignals() as stop, ExitStack() as stack:
        # Processes.
        overridden = stack.enter_context(pinned_settings())
        processes = join_processes(config.run, common_settings(config))
        stop.join(processes.gather, processes.leave)
        stack.enter_context(processes.together())
        if config.run.compilation_cache:
            use_compilation_cache()
        console = console or Console(silent=not processes.is_primary)
        if overridden:
            console.log(
                f"Settings of JAX that are set aside while this trains: {', '.join(overridden)}. "
                "They would change its numbers, or end it."
            )
        # Mesh, data, run directory.
        training = _set_up(config, processes, console, Hooks(hooks), stack)
        # State, programs, loop.
        step, stopped_by = _train(training, stop)
        # Finish.
        if training.length.why_early is not None:
            console.log(training.length.why_early)
        if stopped_by is not None:
            console.log(
                f"Stopped and saved after step {step:,}: the same command goes on from there."
            )
            raise Stopped(stopped_by)
        training.hooks.on_phase("ending", step)
        return open_best_run(
            training.run_dir.path, config, training.dataset, processes, console.log
        )


def _set_up(
    config: Config, processes: Processes, console: Console, hooks: Hook, stack: ExitStack
) -> Training:
    """Check everything that can be checked before anything compiles.

    The run directory stays locked until `stack` is closed.
    """
    hooks.on_phase("preparing", 0)

    # Mesh. (It needs the same number of devices in each process.)
    processes.require_equal(common_settings(config) | local_devices())
    mesh = make_mesh(config.run.devices)

    # Run directory: checked before songs are prepared for hours, locked further below.
    run_dir = RunDir(Path(str(config.run.run_dir)))
    if processes.is_primary:
        run_dir.check()

    # Data.
    dataset = load_dataset(config, processes, console)
    sampler = dataset.sampler(config, local_rows(config.train.batch_size, mesh))
    length = RunLength(config.train, sampler.steps_per_epoch)
    console.log(
        f"{len(dataset.windows):,} windows of {config.data.window}, {sampler.steps_per_epoch:,} "
        f"steps an epoch, {length.words}; {mesh.size} x "
        f"{mesh.devices.flat[0].device_kind}"
        + (f" of {processes.count} processes" if processes.count > 1 else "")
    )
    log_compromises(config, mesh, console.log)

    # Run directory: locked, then started or resumed.
    lock = None
    if processes.is_primary:
        lock = stack.enter_context(run_dir.acquire(console.log))
        start_or_resume(run_dir, config, dataset.corpus, dataset.token_map, dataset.windows)
    return Training(
        config, processes, console, hooks, mesh, dataset, sampler, length, run_dir, lock
    )


def _train(training: Training, stop: StopSignals) -> tuple[int, int | None]:
    """Train to the end or to a signal; returns the steps done and the signal."""
    processes, console, hooks = training.processes, training.console, training.hooks
    sampler, length, mesh = training.sampler, training.length, training.mesh

    # State: new, or as it was saved.
    checkpoints, start = _restore(training)
    step, state = start.step, length.resume(start.step, start.state, mesh)
    epoch_pending = length.ends_epoch(step) and not start.is_evaluated
    has_work = step < length.last_step or epoch_pending
    config, loader = settle_environment(
        training.config, sampler, mesh, processes, training.run_dir, console.log,
        step=step, last_step=length.last_step, has_work=has_work,
    )  # fmt: skip

    # Programs, compiled at their first call.
    train_steps = training_program(
        config,
        training.dataset.vocabulary_size,
        mesh,
        steps_per_epoch=sampler.steps_per_epoch,
    )
    evaluator = _make_evaluator(training, config)
    tuner = DispatchTuner(step, loader.capacity, config.run.steps_per_dispatch)
    reporter = Reporter(
        training.run_dir.metrics if processes.is_primary else None,
        console,
        config,
        step,
        length.known_steps,
        steps_per_epoch=sampler.steps_per_epoch,
        epoch_pending=epoch_pending,
        describe_step=lambda step: training.dataset.describe(sampler.batch_index(step - 1)),
    )

    # Loop. (The mesh is set for kernels, which the compiler can't partition by itself.)
    save_seconds = 60 * config.run.checkpoint_minutes
    save_at = time.monotonic() + save_seconds
    stopped_by: int | None = None
    with ExitStack() as stack:
        stack.enter_context(console)
        stack.enter_context(reporter)
        stack.enter_context(checkpoints or nullcontext())
        stack.callback(loader.close)
        stack.enter_context(jax.set_mesh(mesh))
        console.progress(step, length.known_steps, "compiling")
        hooks.on_phase("compiling", step)
        stop.exit_at_once()
        length.start_clock()
        if evaluator is not None and has_work:
            # Later a signal would have to wait for it, with an epoch's work to be saved.
            evaluator.compile(state)
        while stopped_by is None and (step < length.last_step or epoch_pending):
            if not epoch_pending:
                count = min(tuner.steps, length.steps_to_epoch_end(step))
                with reporter.timing_data():
                    batches = loader.take(step, count)
                state, losses = train_steps(state, batches, np.int32(count))
                stop.defer()  # from now on there is something to save
                step += count
                hooks.after_steps(step, losses)
                reporter.add_steps(step, count, losses)
                # Once a dispatch: a signal that comes later is for the next one.
                stopped_by = stop.poll()
                if tuner.is_measured_after(step):
                    _tune(training, tuner, reporter)
                if not length.is_planned:
                    state = _plan_steps(training, step, state, reporter)
                    save_at = 0.0 if length.is_planned else save_at  # what no clock changes again
                epoch_pending = length.ends_epoch(step)
                if checkpoints is not None:
                    checkpoints.check()
            pausing = (
                step == length.last_step or stopped_by is not None or time.monotonic() >= save_at
            )
            if epoch_pending or pausing:
                reporter.drain()
                score = None
                if epoch_pending:
                    score, state = _end_epoch(training, step, state, evaluator, reporter, stop)
                    epoch_pending = score is None  # stopped before the epoch was evaluated
                    stopped_by = stop.poll()
                reporter.sync()  # rows reach the disk before the checkpoint that counts on them
                if checkpoints is not None:
                    _save(checkpoints, step, state, score, hooks)
                save_at = time.monotonic() + save_seconds
    if step < length.last_step or epoch_pending:
        return step, stopped_by
    reporter.log_end(step, processes.broadcast(lambda: reporter.bad_steps))
    return step, None


def _restore(training: Training) -> tuple[Checkpoints | None, Start]:
    """Open the checkpoints (in process 0), and restore the latest state or make a new one."""
    training.hooks.on_phase("restoring", 0)
    processes, run_dir, log = training.processes, training.run_dir, training.console.log
    checkpoints = None
    if processes.is_primary:
        checkpoints = open_checkpoints(run_dir, lock=training.lock, log=log)
    start = restore_or_init(
        training.config,
        training.dataset.vocabulary_size,
        training.mesh,
        processes,
        checkpoints,
    )
    if start.step:
        log(f"Going on with {run_dir.path} after step {start.step:,}.")
    return checkpoints, start


def _tune(training: Training, tuner: DispatchTuner, reporter: Reporter) -> None:
    """Set the steps of a dispatch by the speed of those so far, in all processes alike."""
    reporter.drain()
    speed = training.processes.broadcast(lambda: reporter.meter.windows_per_second)
    tuner.tune(speed, training.config.train.batch_size)


def _plan_steps(training: Training, step: int, state: TrainState, reporter: Reporter) -> TrainState:
    """Fix the number of steps of a training in minutes, once it can be told."""
    length = training.length
    planned = training.processes.broadcast(lambda: length.plan(step))
    if planned is None:
        return state
    state = length.set_plan(planned, state, training.mesh)
    reporter.last_step = length.last_step
    training.console.log(f"{training.config.train.minutes:g} minutes are {length.words}.")
    return state


def _make_evaluator(training: Training, config: Config) -> HeldOutEvaluator | None:
    dataset = training.dataset
    windows = dataset.held_out
    if windows is None:
        return None
    settings = config, dataset.vocabulary_size
    if isinstance(windows, SongWindows):
        return WholeSongEvaluator(*settings, windows, dataset.token_map, training.mesh)
    return HeldOutEvaluator(*settings, windows, dataset.token_map, training.mesh)


def _end_epoch(
    training: Training,
    step: int,
    state: TrainState,
    evaluator: HeldOutEvaluator | None,
    reporter: Reporter,
    stop: StopSignals,
) -> tuple[float | None, TrainState]:
    """Evaluate and log an epoch.

    Returns the loss that ranks checkpoints, None when stopped, and the state with it counted.
    """
    stop.defer()
    training.hooks.on_phase("evaluating", step)
    held_out: dict[str, float] | None = {}
    if evaluator is not None:
        held_out = evaluator.evaluate(state, should_stop=lambda: stop.poll() is not None)
    if held_out is None:
        return None, state
    loss = state.epoch_loss()
    reporter.log_epoch(step, loss, held_out)
    training.hooks.after_epoch(step, {"epoch_loss": loss, **held_out})
    score = held_out.get(HELD_OUT_LOSS, loss)
    return score, training.length.after_epoch(step, state, score, training.mesh)


def _save(
    checkpoints: Checkpoints, step: int, state: TrainState, score: float | None, hooks: Hook
) -> None:
    hooks.before_save(step)
    checkpoints.save(step, state.to_dict(), score=score)
    hooks.after_save(step)
