"""Evaluation on the windows of held-out songs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxmusic.config import Config
from jaxmusic.data.batch import Batch
from jaxmusic.data.batch_sampler import sequential_batches
from jaxmusic.data.token_map import TokenMap
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.mesh import local_rows, replicated_sharding, shard_rows
from jaxmusic.evaluation.metrics import METRICS
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.training.state import PyTree, TrainState, model_graphdef

Sums = dict[str, jax.Array]  # by the metric's name: () float32


def eval_step(
    params: PyTree,
    batch_stats: PyTree,
    batch: Batch,
    *,
    graphdef: nnx.GraphDef[MusicLSTM],
    metrics: Iterable[str],
) -> Sums:
    """Metrics of a batch in evaluation mode, each summed over the batch's windows."""
    inputs, targets, weights = map(jnp.asarray, batch[:3])
    logits = nnx.merge(graphdef, params, batch_stats)(inputs)
    return {name: (METRICS[name](logits, targets) * weights).sum() for name in metrics}


class HeldOutEvaluator:
    """Evaluates a training state on held-out windows, over the devices of a mesh."""

    def __init__(
        self,
        config: Config,
        vocabulary_size: int,
        windows: Windows,
        token_map: TokenMap,
        mesh: Mesh,
        *,
        metrics: Sequence[str] | None = None,
    ) -> None:
        """`metrics` are names in METRICS; None: all of them."""
        self._windows = windows
        self._count = len(windows)
        self._token_map = token_map
        self._rows = local_rows(config.train.batch_size, mesh)
        self._mesh = mesh
        graphdef = model_graphdef(config, vocabulary_size)
        self._program = jax.jit(
            partial(eval_step, graphdef=graphdef, metrics=tuple(metrics or METRICS)),
            out_shardings=replicated_sharding(mesh),
        )

    def compile(self, state: TrainState) -> None:
        """Compile the program, by a call on the first batch."""
        next(self._sums(state))

    def evaluate(
        self, state: TrainState, should_stop: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Means over all windows by name; None when `should_stop` said so between two batches."""
        sums: list[Sums] = []
        for batch_sums in self._sums(state):
            sums.append(batch_sums)
            jax.block_until_ready(sums[-2:-1])  # one batch ahead, so that a signal is soon seen
            if should_stop():
                return None
        found = jax.device_get(sums)
        return {
            name: float(np.sum([each[name] for each in found], dtype=np.float64)) / self._count
            for name in found[0]
        }

    def _sums(self, state: TrainState) -> Iterator[Sums]:
        for batch in sequential_batches(self._windows, self._rows, self._token_map):
            placed = shard_rows(batch, self._mesh)
            yield self._program(state.evaluated_params, state.batch_stats, placed)
