"""jaxmusic's training step, dispatched as by the training loop."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmusic.benchmarks.harness.matrix_product import xla_product_rate
from jaxmusic.benchmarks.harness.weights import load_weights, save_weights
from jaxmusic.benchmarks.workload import Workload
from jaxmusic.config import RunConfig
from jaxmusic.data.loader import Loader, make_loader
from jaxmusic.distributed.mesh import local_rows, make_mesh, replicate
from jaxmusic.runtime.allocator import keep_freed_memory
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.programs import training_program
from jaxmusic.training.state import TrainState, new_state

ENDLESS = 2**40  # steps: what is read ahead never comes to an end


class TrainingStep:
    """The program of `fit`, and its batches."""

    @pinned_settings()
    def __init__(self, workload: Workload, weights: Path) -> None:
        keep_freed_memory()  # as `fit` does
        self.workload = workload
        self.mesh = make_mesh()
        # The initial weights of the workload's seed, for every peer to start from.
        if not weights.exists():
            save_weights(new_state(workload.config, workload.vocabulary_size).params, weights)
        self.weights = load_weights(weights)
        self.sampler = workload.sampler(local_rows(workload.train.batch_size, self.mesh).total)
        self.loader = self._loader(workload.fed_from)
        self.state = self._new_state(workload)
        self.step = 0
        self.loss: Any = None  # of the last dispatch
        self.waiting = 0.0  # seconds in which the device may have stood idle for want of a batch
        self.running = 0.0
        self.compile_seconds: float | None = None
        self.do_steps = self._program(workload)
        self.ready: Any = None  # batches to be used again and again, when so asked

    @pinned_settings()
    def check_losses(self) -> list[float]:
        """Losses of two steps on the first batch, with all dropout off."""
        plain = self.workload.without_dropout()
        state, do_steps = self._new_state(plain), self._program(plain)
        batches = self._loader("devices").take(0, 1)
        losses = []
        with jax.set_mesh(self.mesh):
            for _ in range(2):
                state, loss = do_steps(state, batches, np.int32(1))
                losses.append(float(loss[0]))
        return losses

    @pinned_settings()
    def run(self, steps: int) -> None:
        """Train on, waiting for each dispatch only once the next one is under way.

        The smaller last batch of an epoch takes as long as a full one: it is filled up.
        """
        if self.compile_seconds is None:
            self._compile()
        count = self.workload.steps_per_dispatch
        start = time.perf_counter()
        with jax.set_mesh(self.mesh):
            for _ in range(0, steps, count):
                idle_before = self._idle()
                began = time.perf_counter()
                batches = self._take(count)
                if idle_before or self._idle():  # in the second case less than all was waiting
                    self.waiting += time.perf_counter() - began
                before = self.loss
                self.state, self.loss = self.do_steps(self.state, batches, np.int32(count))
                if before is not None:
                    jax.block_until_ready(before)
            jax.block_until_ready((self.state, self.loss))
        self.running += time.perf_counter() - start

    def report(self) -> dict[str, Any]:
        """What else was measured: shares and bytes."""
        device = jax.local_devices()[0]
        stats = device.memory_stats() or {}
        return {
            "device": [device.platform, device.device_kind, self.mesh.size],
            "recurrent_masks": 4 if self.workload.model.recurrent_dropout else 0,
            "compile_seconds": self.compile_seconds,
            "data_wait_share": self.waiting / self.running if self.running else None,
            "device_peak_bytes": stats.get("peak_bytes_in_use"),
            "loss": None if self.loss is None else float(np.mean(np.asarray(self.loss))),
        }

    def product_rate(self, size: int, repeats: int) -> float:
        """FLOP/s of the best of some large matrix products, in the workload's precision."""
        return xla_product_rate(self.workload.train.precision, size, repeats)

    def _compile(self) -> None:
        loader = self._loader(self.workload.fed_from)
        batches = loader.take(0, self.workload.steps_per_dispatch)
        loader.close()
        if self.workload.fed_from == "ready":
            self.ready = batches
        start = time.perf_counter()
        with jax.set_mesh(self.mesh):
            lowered = self.do_steps.lower(self.state, batches, np.int32(1))
            self.do_steps = lowered.compile()
        self.compile_seconds = time.perf_counter() - start

    def _idle(self) -> bool:
        return self.loss is None or self.loss.is_ready()

    def _take(self, count: int) -> Any:
        if self.ready is not None:
            return self.ready
        batches = self.loader.take(self.step, count)
        self.step += count
        return batches

    def _loader(self, fed_from: str) -> Loader:
        run = RunConfig(
            steps_per_dispatch=self.workload.steps_per_dispatch,
            device_corpus_mib=0 if fed_from == "host" else 1e9,
        )
        return make_loader(self.sampler, self.mesh, run, step=0, last_step=ENDLESS)

    def _new_state(self, workload: Workload) -> TrainState:
        state = new_state(workload.config, workload.vocabulary_size)
        state = state._replace(params=jax.tree.map(jnp.array, self.weights))
        placed: TrainState = replicate(state, self.mesh)
        return placed

    def _program(self, workload: Workload) -> Any:
        return training_program(
            workload.config,
            workload.vocabulary_size,
            self.mesh,
            steps_per_epoch=self.sampler.steps_per_epoch,
        )


def build(arguments: dict[str, Any]) -> TrainingStep:
    """Build the program of a request."""
    return TrainingStep(Workload.from_json(arguments["workload"]), Path(arguments["weights"]))
