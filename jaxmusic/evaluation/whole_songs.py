"""Evaluation on whole held-out songs, through which the LSTM state is carried."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxmusic.config import Config
from jaxmusic.data.batch import Batch
from jaxmusic.data.songs.sampler import whole_song_batches
from jaxmusic.data.songs.windows import SongWindows
from jaxmusic.data.token_map import TokenMap
from jaxmusic.distributed.mesh import local_rows, replicated_sharding, row_sharding, shard_rows
from jaxmusic.evaluation.held_out import HeldOutEvaluator, Sums
from jaxmusic.evaluation.metrics import METRICS
from jaxmusic.nn.cell import Carry, continue_carry
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.training.state import PyTree, TrainState, model_graphdef

Carries = tuple[Carry, ...]


def whole_song_step(
    params: PyTree,
    batch_stats: PyTree,
    carries: Carries,
    batch: Batch,
    *,
    graphdef: nnx.GraphDef[MusicLSTM],
    metrics: Iterable[str],
) -> tuple[Sums, Carries]:
    """Metrics of a batch in evaluation mode, each summed over its targets, and the carries."""
    inputs, targets, weights, continued = map(jnp.asarray, batch)
    model = nnx.merge(graphdef, params, batch_stats)
    before = tuple(continue_carry(carry, continued) for carry in carries)
    features, after = model.recur(inputs, carries=before)
    logits = model.head(features)
    # Metrics of a window are means over its targets: here each target is a window of one.
    logits, targets = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    sums = {name: (METRICS[name](logits, targets) * weights.reshape(-1)).sum() for name in metrics}
    return sums, after


class WholeSongEvaluator(HeldOutEvaluator):
    """Evaluates a training state on whole songs: means over all their targets."""

    def __init__(
        self,
        config: Config,
        vocabulary_size: int,
        windows: SongWindows,
        token_map: TokenMap,
        mesh: Mesh,
        *,
        metrics: Sequence[str] | None = None,
    ) -> None:
        """`metrics` are names in METRICS; None: all of them."""
        super().__init__(config, vocabulary_size, windows, token_map, mesh, metrics=metrics)
        self._songs = windows
        self._count = int(windows.targets.sum())
        self._rows = local_rows(min(config.train.batch_size, len(windows.counts)), mesh)
        self._model = config.model
        self._program = jax.jit(
            partial(
                whole_song_step,
                graphdef=model_graphdef(config, vocabulary_size),
                metrics=tuple(metrics or METRICS),
            ),
            out_shardings=(replicated_sharding(mesh), row_sharding(mesh)),
        )

    def _sums(self, state: TrainState) -> Iterator[Sums]:
        rows = self._rows.stop - self._rows.start
        zeros = np.zeros((rows, self._model.hidden_size), np.float32)
        carries: Carries = tuple(
            shard_rows(Carry(zeros, zeros), self._mesh)  # type: ignore[arg-type]
            for _ in range(self._model.layers)
        )
        for batch in whole_song_batches(self._songs, self._rows, self._token_map):
            placed = shard_rows(batch, self._mesh)
            sums, carries = self._program(
                state.evaluated_params, state.batch_stats, carries, placed
            )
            yield sums
