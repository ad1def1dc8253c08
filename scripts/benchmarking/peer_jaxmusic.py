"""jaxmusic's own training step, driven as the training loop drives it."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from benchmarking.products import xla_product_rate
from benchmarking.weights import load_weights, save_weights
from benchmarking.workload import Workload
from jaxmusic.feed import Batch
from jaxmusic.memory import keep_freed_memory
from jaxmusic.parallel import batch_sharding, make_mesh, padded_rows, replicated
from jaxmusic.state import TrainState, model_structure, new_optimizer, new_state
from jaxmusic.step import train_step


class Peer:
    """The step compiled with the shardings and the donation of `fit`."""

    def __init__(self, workload: Workload, weights: Path) -> None:
        keep_freed_memory()  # as `fit` does
        self.workload = workload
        # The initial weights of the workload's seed, for every peer to start from.
        if not weights.exists():
            save_weights(new_state(workload.config, workload.vocabulary_size).params, weights)
        self.weights = load_weights(weights)
        self.mesh = make_mesh()
        self.feed = workload.feed(padded_rows(workload.train.batch_size, self.mesh))
        self.state = self._new_state(workload)
        self.step = 0
        self.loss: Any = None  # of the last dispatch
        self.waiting = 0.0  # seconds in which the device may have stood idle for want of a batch
        self.running = 0.0
        self.compile_seconds: float | None = None
        sharding = batch_sharding(self.mesh)
        if workload.steps_per_dispatch > 1:
            sharding = NamedSharding(self.mesh, PartitionSpec(None, "batch"))
        self.put = partial(jax.device_put, device=sharding)
        self.do_steps = self._program(workload, workload.steps_per_dispatch)

    def check_losses(self) -> list[float]:
        """Losses of two steps on the first batch, with all dropout off."""
        plain = self.workload.without_dropout()
        state, do_step = self._new_state(plain), self._program(plain, 1)
        batch = jax.device_put(self.feed.batch(0), batch_sharding(self.mesh))
        losses = []
        for _ in range(2):
            state, loss = do_step(state, batch)
            losses.append(float(loss))
        return losses

    def run(self, steps: int) -> None:
        """Train on, waiting for each dispatch only once the next one is under way."""
        if self.compile_seconds is None:
            self._compile()
        start = time.perf_counter()
        for _ in range(0, steps, self.workload.steps_per_dispatch):
            idle_before = self._idle()
            began = time.perf_counter()
            batch = self.put(self._next_batches())
            if idle_before or self._idle():  # in the second case less than all of it was waiting
                self.waiting += time.perf_counter() - began
            before = self.loss
            self.state, self.loss = self.do_steps(self.state, batch)
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
        batch, self.step = self.put(self._next_batches()), 0
        start = time.perf_counter()
        self.do_steps = self.do_steps.lower(self.state, batch).compile()
        self.compile_seconds = time.perf_counter() - start

    def _idle(self) -> bool:
        return self.loss is None or self.loss.is_ready()

    def _next_batches(self) -> Batch:
        count = self.workload.steps_per_dispatch
        batches = self.workload.full_batches(self.feed, self.step, count)
        self.step += count
        if count == 1:
            return batches[0]
        return Batch(*(np.stack(arrays) for arrays in zip(*batches, strict=True)))

    def _new_state(self, workload: Workload) -> TrainState:
        state = new_state(workload.config, workload.vocabulary_size)
        params = jax.tree.map(jnp.array, self.weights)
        state = state._replace(params=params)
        placed: TrainState = jax.device_put(state, replicated(self.mesh))
        return placed

    def _program(self, workload: Workload, count: int) -> Any:
        one = partial(
            train_step,
            structure=model_structure(workload.config, workload.vocabulary_size),
            optimizer=new_optimizer(workload.train),
            seed=workload.train.seed,
            steps_per_epoch=self.feed.steps_per_epoch,
        )

        def several(state: TrainState, batches: Batch) -> tuple[TrainState, jax.Array]:
            after: tuple[TrainState, jax.Array] = lax.scan(one, state, batches)
            return after

        return jax.jit(
            one if count == 1 else several,
            donate_argnums=0,
            out_shardings=replicated(self.mesh),
        )


def build(arguments: dict[str, Any]) -> Peer:
    """The peer of a request."""
    return Peer(Workload.from_json(arguments["workload"]), Path(arguments["weights"]))
