"""How batches get to the devices: cut there from a corpus that lies on them, or sent step by step.

Both give the same batches, bit for bit.
"""

from typing import Protocol

import numpy as np
from jax.sharding import Mesh

from jaxmusic.config import RunConfig
from jaxmusic.data.batch import Batch, CorpusBatches
from jaxmusic.data.batch_sampler import Feed, ReadAhead
from jaxmusic.distributed.mesh import put_everywhere, put_rows

# Room for steps in a dispatch. It is the same however many of them are used: a program with room
# for another number of steps is another program, and rounds otherwise.
MOST_STEPS = 64


class Supply(Protocol):
    """The batches of a training, on the devices; each step's are taken once, in order."""

    most_steps: int  # that can be taken at once

    def take(self, step: int, count: int) -> Batch | CorpusBatches:
        """The batches of `count` steps from `step` on, filled up to `most_steps` of them."""
        ...

    def close(self) -> None:
        """No more will be taken."""
        ...


def make_supply(feed: Feed, mesh: Mesh, run: RunConfig, *, step: int, last_step: int) -> Supply:
    """From the devices where the tokens fit in the memory that they may take, else from the host.

    `step` is the first to be taken, `last_step` the number of all.
    """
    tokens = feed.windows.tokens
    # Places are counted in int32 there.
    if tokens.nbytes <= run.device_corpus_mib * 2**20 and len(tokens) < 2**31:
        return FromDevices(feed, mesh, most_steps=max(run.steps_per_dispatch or 1, MOST_STEPS))
    return FromHost(feed, mesh, step=step, last_step=last_step)


class FromDevices:
    """Every device has the whole stream; what is sent for a step is where its windows start."""

    def __init__(self, feed: Feed, mesh: Mesh, *, most_steps: int) -> None:
        self.most_steps = most_steps
        self._feed = feed
        self._mesh = mesh
        # None stays None.
        self._tokens, self._table = put_everywhere(
            (np.asarray(feed.windows.tokens), feed.table), mesh
        )

    def take(self, step: int, count: int) -> CorpusBatches:
        """As in Supply."""
        share = self._feed.share
        starts = np.zeros((self.most_steps, share.stop - share.start), np.int32)
        weights = np.zeros(starts.shape, np.float32)
        shifts = None if self._table is None else np.zeros_like(starts)
        for number in range(count):
            places = self._feed.places(step + number)
            starts[number], weights[number] = places.starts, places.weights
            if shifts is not None and places.shifts is not None:
                shifts[number] = places.shifts
        starts, weights, shifts = put_rows((starts, weights, shifts), self._mesh, axis=1)
        return CorpusBatches(self._tokens, starts, weights, shifts, self._table)

    def close(self) -> None:
        """As in Supply."""


class FromHost:
    """The host reads the windows ahead, out of a memory-mapped corpus, and sends them."""

    most_steps = 1

    def __init__(self, feed: Feed, mesh: Mesh, *, step: int, last_step: int) -> None:
        self._mesh = mesh
        self._ahead = ReadAhead(feed, step, last_step)

    def take(self, step: int, count: int) -> Batch:
        """As in Supply."""
        batch = self._ahead.batch()
        one_step = Batch(*(array[None] for array in batch))
        placed: Batch = put_rows(one_step, self._mesh, axis=1)
        return placed

    def close(self) -> None:
        """As in Supply."""
        self._ahead.close()
