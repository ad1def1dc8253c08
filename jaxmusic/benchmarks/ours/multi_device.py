"""One configuration of `benchmark.py scaling`: its devices, in one process or in several.

Process 0 starts the others, and all of them do what it is asked to.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import jax
import numpy as np

from jaxmusic.benchmarks.harness import collectives
from jaxmusic.benchmarks.harness.worker import peak_bytes
from jaxmusic.benchmarks.workload import Workload
from jaxmusic.config import RunConfig
from jaxmusic.data.batch_sampler import BatchSampler
from jaxmusic.data.dispatch_tuner import DispatchTuner
from jaxmusic.data.loader import make_loader
from jaxmusic.distributed.mesh import local_rows, make_mesh, replicate
from jaxmusic.distributed.processes import Processes, join_processes
from jaxmusic.runtime.allocator import keep_freed_memory
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.programs import training_program
from jaxmusic.training.state import new_state

ENDLESS = 2**40  # steps: what is read ahead never comes to an end


class Training:
    """The program of `fit` and its batches in one process."""

    @pinned_settings()
    def __init__(self, workload: Workload, processes: Processes, devices: int) -> None:
        """`devices` are those of each process."""
        config, vocabulary_size = workload.config, workload.vocabulary_size
        self.processes = processes
        self.batch_size = config.train.batch_size
        self.mesh = make_mesh(devices)
        row_range = local_rows(self.batch_size, self.mesh)
        windows = workload.sampler().windows
        sampler = BatchSampler(
            windows, self.batch_size, seed=config.train.seed, row_range=row_range
        )
        self.loader = make_loader(sampler, self.mesh, RunConfig(), step=0, last_step=ENDLESS)
        self.tuner = DispatchTuner(0, self.loader.capacity)
        self.state: Any = replicate(new_state(config, vocabulary_size), self.mesh)
        self.do_steps = training_program(
            config, vocabulary_size, self.mesh, steps_per_epoch=sampler.steps_per_epoch
        )
        self.step = 0
        self.loss: Any = None  # of the last dispatch
        self.first_loss: float | None = None
        self.compile_seconds: float | None = None

    @pinned_settings()
    def run(self, steps: int) -> None:
        """Train on, as many steps a dispatch as `fit` would take."""
        if self.compile_seconds is None:
            self._compile()
        start = time.perf_counter()
        self._train(steps)
        seconds = time.perf_counter() - start
        speed = self.processes.broadcast(lambda: steps * self.batch_size / seconds)
        self.tuner.tune(speed, self.batch_size)
        if self.first_loss is None:
            self.first_loss = float(self.loss[0])

    @pinned_settings()
    def profile(self, steps: int) -> dict[str, float | None]:
        """Train on under a profiler: which shares of the time went to collectives."""
        start = end = 0.0

        def train() -> None:
            nonlocal start, end
            start = time.perf_counter()
            self._train(steps)
            end = time.perf_counter()

        if self.mesh.size == 1:
            return {"collectives": 0.0, "waiting": 0.0}
        mine = collectives.profile(train)
        gathered = self.processes.gather([mine, end - start])
        devices = [times for theirs, _ in gathered for times in theirs]
        seconds = max(seconds for _, seconds in gathered)
        found = collectives.shares(devices, seconds) if len(devices) == self.mesh.size else None
        return {
            "collectives": None if found is None else found.collectives,
            "waiting": None if found is None else found.waiting,
        }

    def report(self) -> dict[str, Any]:
        """What else was measured; bytes of all processes together."""
        return {
            "platform": jax.default_backend(),
            "available": len(jax.local_devices()),
            "compile_seconds": self.compile_seconds,
            "host_peak_bytes": sum(self.processes.gather(peak_bytes())),
            "first_loss": self.first_loss,
            "steps_per_dispatch": self.tuner.steps,
        }

    def _train(self, steps: int) -> None:
        """Wait for each dispatch only once the next one is under way."""
        last = self.step + steps
        with jax.set_mesh(self.mesh):
            while self.step < last:
                count = min(self.tuner.steps, last - self.step)
                batches = self.loader.take(self.step, count)
                before = self.loss
                self.state, self.loss = self.do_steps(self.state, batches, np.int32(count))
                self.step += count
                if before is not None:
                    jax.block_until_ready(before)
            jax.block_until_ready((self.state, self.loss))

    def _compile(self) -> None:
        batches = self.loader.take(0, 1)
        start = time.perf_counter()
        with jax.set_mesh(self.mesh):
            self.do_steps = self.do_steps.lower(self.state, batches, np.int32(1)).compile()
        self.compile_seconds = time.perf_counter() - start


class Leader:
    """Process 0, which passes each request on to the others."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.others: list[subprocess.Popen[str]] = []
        if arguments["processes"] > 1:
            with socket.create_server(("localhost", 0)) as free:
                arguments["coordinator"] = f"localhost:{free.getsockname()[1]}"
            self.others = [
                _start_other(arguments, index) for index in range(1, arguments["processes"])
            ]
        self.training = _join(arguments, 0)

    def run(self, steps: int) -> None:
        """Train for `count` steps."""
        self._everywhere("run", steps=steps)

    def profile(self, steps: int) -> Any:
        """Train so many steps under a profiler: shares of the time."""
        return self._everywhere("profile", steps=steps)

    def report(self) -> Any:
        """What else was measured."""
        return self._everywhere("report")

    def _everywhere(self, name: str, **arguments: Any) -> Any:
        self.training.processes.broadcast(lambda: [name, arguments])
        return getattr(self.training, name)(**arguments)


def build(arguments: dict[str, Any]) -> Leader:
    """Build the program of a request."""
    return Leader(arguments)


def visible_gpus(index: int, devices: int) -> str:
    """The value of JAX's setting for the visible GPUs of a process."""
    return ",".join(str(index * devices + number) for number in range(devices))


def _start_other(arguments: dict[str, Any], index: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ, "JAX_CUDA_VISIBLE_DEVICES": visible_gpus(index, arguments["devices"]),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxmusic.benchmarks.ours.multi_device"],
        stdin=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps({**arguments, "index": index}) + "\n")
    process.stdin.flush()
    return process


def _join(arguments: dict[str, Any], index: int) -> Training:
    keep_freed_memory()  # as `fit` does, before JAX starts its threads
    count = arguments["processes"]
    run = RunConfig(num_processes=1)
    if count > 1:
        run = RunConfig(num_processes=count, process_id=index, coordinator=arguments["coordinator"])
    processes = join_processes(run)
    with processes.together():
        workload = Workload.from_json(arguments["workload"])
        return Training(workload, processes, arguments["devices"])


def main() -> None:
    """Follow process 0 as another process, until it ends."""
    arguments = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_process_0, daemon=True).start()
    training = _join(arguments, arguments["index"])
    with training.processes.together():
        while True:
            name, given = training.processes.broadcast(lambda: None)
            getattr(training, name)(**given)


def _end_with_process_0() -> None:
    """End with process 0, which closes our standard input, also while we wait for it to join."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
