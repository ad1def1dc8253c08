"""Where a training starts: at a run's latest checkpoint, or at step 0; and how it is computed."""

from collections.abc import Callable
from dataclasses import dataclass

from jax.sharding import Mesh

from jaxmusic.config import Config
from jaxmusic.data.batch import Sampler
from jaxmusic.data.loader import Loader, make_loader
from jaxmusic.distributed.mesh import replicate
from jaxmusic.distributed.processes import Processes
from jaxmusic.nn.lstm import choose_recurrence
from jaxmusic.run_dir.checkpoint import Checkpoints
from jaxmusic.run_dir.environment import EnvironmentFile, current_environment, merge_environments
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.run_dir.recurrence import keep_recurrence, lstm_workload
from jaxmusic.training.state import TrainState, abstract_state, new_state


@dataclass(frozen=True)
class Start:
    """The state that a training starts from."""

    step: int  # steps done
    state: TrainState  # after them, replicated over the mesh
    is_evaluated: bool  # the epoch that ends with `step`, if one does


def restore_or_init(
    config: Config,
    vocabulary_size: int,
    mesh: Mesh,
    processes: Processes,
    checkpoints: Checkpoints | None,
) -> Start:
    """Broadcast the latest state of process 0, which alone has `checkpoints`, or a new state.

    Raises CheckpointError when there are checkpoints, but none is whole.
    """
    restored = None
    if checkpoints is not None:
        restored = checkpoints.restore_latest(abstract_state(config, vocabulary_size).to_dict())
    if restored is not None:
        step, state, score = restored.step, TrainState(**restored.state), restored.score
    else:
        step, state, score = 0, new_state(config, vocabulary_size), None
    step, score = processes.broadcast(lambda: [step, score])
    placed: TrainState = replicate(processes.broadcast_arrays(state), mesh)
    return Start(step, placed, is_evaluated=score is not None)


def settle_environment(
    config: Config,
    sampler: Sampler,
    mesh: Mesh,
    processes: Processes,
    run_dir: RunDir,
    log: Callable[[str], None],
    *,
    step: int,
    last_step: int,
    has_work: bool,
) -> tuple[Config, Loader]:
    """Compute the steps from `step` on as the ones before, where this machine can.

    Returns the settings for that, and the loader. Changes are logged, and recorded if the training
    `has_work`.
    """
    file = EnvironmentFile(run_dir.environment, step) if processes.is_primary else None
    before = processes.broadcast(lambda: file and file.last)
    config = keep_recurrence(config, before, mesh, log)
    loader = make_loader(sampler, mesh, config.run, step=step, last_step=last_step)
    if has_work:
        recurrence = choose_recurrence(config.run.recurrence, lstm_workload(config, mesh)).name
        processes.require_equal({"how the LSTM layers are computed": recurrence})
        environment = merge_environments(
            processes.gather(current_environment(recurrence, mesh, loader.capacity))
        )
        if file is not None and (line := file.record(environment)) is not None:
            log(line)
    return config, loader
