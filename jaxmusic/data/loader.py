"""Loaders: batches cut on the devices from a corpus there, or sent from the host.

Both give the same batches, bit for bit.
"""

from typing import Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from jaxmusic.config import RunConfig
from jaxmusic.data.batch import Batch, CorpusBatches, Sampler
from jaxmusic.data.batch_sampler import Prefetcher
from jaxmusic.distributed.mesh import replicate, shard_rows

# Steps that a dispatch has room for, however many it uses: a program with another capacity is
# another program, which may round differently.
MAX_STEPS_PER_DISPATCH = 64


class Loader(Protocol):
    """Loads batches onto the devices; each step is taken once, in order."""

    capacity: int  # steps that can be taken at once

    def take(self, step: int, count: int) -> Batch | CorpusBatches:
        """The batches of `count` steps from `step` on, padded to `capacity` steps."""
        ...

    def close(self) -> None:
        """Release threads; nothing can be taken after this."""
        ...


def make_loader(
    sampler: Sampler, mesh: Mesh, run: RunConfig, *, step: int, last_step: int
) -> Loader:
    """A DeviceLoader where the tokens fit in `--device-corpus-mib`, else a HostLoader.

    `step` is the first one to take, `last_step` the number of all steps.
    """
    tokens = sampler.windows.tokens
    # The devices count stream offsets in int32.
    if tokens.nbytes <= run.device_corpus_mib * 2**20 and len(tokens) < 2**31:
        return DeviceLoader(
            sampler, mesh, capacity=max(run.steps_per_dispatch or 1, MAX_STEPS_PER_DISPATCH)
        )
    return HostLoader(sampler, mesh, step=step, last_step=last_step)


class DeviceLoader:
    """Keeps the whole token stream on every device; sends only stream offsets."""

    def __init__(self, sampler: Sampler, mesh: Mesh, *, capacity: int) -> None:
        self.capacity = capacity
        self._sampler = sampler
        self._mesh = mesh
        # None stays None.
        self._tokens, self._table = replicate(
            (np.asarray(sampler.windows.tokens), sampler.table), mesh
        )

    def take(self, step: int, count: int) -> CorpusBatches:
        """As in Loader."""
        row_range = self._sampler.row_range
        starts = np.zeros((self.capacity, row_range.stop - row_range.start), np.int32)
        weights = np.zeros(starts.shape, np.float32)
        shifts = lengths = continued = None
        for number in range(count):
            index = self._sampler.batch_index(step + number)
            starts[number], weights[number] = index.starts, index.weights
            if index.shifts is not None:
                shifts = np.zeros_like(starts) if shifts is None else shifts
                shifts[number] = index.shifts
            if index.lengths is not None and index.continued is not None:
                if lengths is None or continued is None:
                    lengths, continued = np.zeros_like(starts), np.zeros(starts.shape, bool)
                lengths[number], continued[number] = index.lengths, index.continued
        starts, weights, shifts, lengths, continued = shard_rows(
            (starts, weights, shifts, lengths, continued), self._mesh, axis=1
        )
        return CorpusBatches(self._tokens, starts, weights, shifts, self._table, lengths, continued)

    def close(self) -> None:
        """As in Loader."""


class HostLoader:
    """Reads windows ahead from a memory-mapped corpus, and sends them."""

    capacity = 1

    def __init__(self, sampler: Sampler, mesh: Mesh, *, step: int, last_step: int) -> None:
        self._mesh = mesh
        self._ahead = Prefetcher(sampler, step, last_step)

    def take(self, step: int, count: int) -> Batch:
        """As in Loader."""
        batch = self._ahead.batch()
        one_step = jax.tree.map(lambda array: array[None], batch)
        placed: Batch = shard_rows(one_step, self._mesh, axis=1)
        return placed

    def close(self) -> None:
        """As in Loader."""
        self._ahead.close()
