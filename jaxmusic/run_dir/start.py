"""Where a training starts: at a run's latest checkpoint, or at step 0."""

from dataclasses import dataclass

from jax.sharding import Mesh

from jaxmusic.config import Config
from jaxmusic.distributed.mesh import replicate
from jaxmusic.distributed.processes import Processes
from jaxmusic.run_dir.checkpoint import Checkpoints
from jaxmusic.training.state import TrainState, abstract_state, new_state


@dataclass(frozen=True)
class Start:
    """The state that a training starts from."""

    step: int  # steps done
    state: TrainState  # after them, replicated over the mesh
    epoch_pending: bool  # an epoch ended with `step`, and is still to be evaluated


def restore_or_init(
    config: Config,
    vocabulary_size: int,
    mesh: Mesh,
    processes: Processes,
    checkpoints: Checkpoints | None,
    *,
    steps_per_epoch: int,
) -> Start:
    """Broadcast the latest state of process 0, which alone has `checkpoints`, or a new state.

    Raises CheckpointError when there are checkpoints, but none is whole.
    """
    restored = None
    if checkpoints is not None:
        restored = checkpoints.restore_latest(abstract_state(config, vocabulary_size)._asdict())
    if restored is not None:
        step, state, score = restored.step, TrainState(**restored.state), restored.score
    else:
        step, state, score = 0, new_state(config, vocabulary_size), None
    step, score = processes.broadcast(lambda: [step, score])
    placed: TrainState = replicate(processes.broadcast_arrays(state), mesh)
    at_epoch_end = step > 0 and step % steps_per_epoch == 0
    return Start(step, placed, epoch_pending=at_epoch_end and score is None)
