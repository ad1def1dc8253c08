"""The training program, compiled for the chips of a topology."""

import math
import re
import time
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from jaxmusic.aot.chips import Topology, unknown_topology
from jaxmusic.aot.libtpu import CompilerError
from jaxmusic.config import BATCH_AXIS, Config, ConfigError
from jaxmusic.distributed.mesh import local_rows
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.programs import training_arguments, training_program


@dataclass(frozen=True)
class Corpus:
    """The size of the data, and whether it lies on the devices."""

    tokens: int
    vocabulary_size: int
    on_devices: bool
    steps_per_dispatch: int  # 1 where the batches come from the host

    @property
    def dtype(self) -> Any:
        """Data type of the tokens."""
        return jnp.uint16 if self.vocabulary_size <= 2**16 else jnp.uint32


@dataclass(frozen=True)
class Memory:
    """Bytes of HBM on one chip."""

    arguments: int
    outputs: int  # without those that lie where arguments lay
    temporaries: int
    program: int

    @property
    def total(self) -> int:
        """Bytes in use while the program runs."""
        return self.arguments + self.outputs + self.temporaries + self.program


@dataclass(frozen=True)
class Compiled:
    """A program that fits."""

    text: str
    memory: Memory
    seconds: float  # that compiling took


@dataclass(frozen=True)
class TooLarge:
    """A program that the compiler can't fit into a chip's memory."""

    needs: str  # 24.29G
    has: str


def check_for_tpus(config: Config) -> Config:
    """Replace settings by their values on TPUs. Raises ConfigError for those that TPUs lack."""
    config.check()
    if config.run.devices is not None:
        raise ConfigError(
            f"--devices {config.run.devices}: here --topology says which devices there are."
        )
    if config.run.recurrence == "cpu":
        raise ConfigError(
            "--recurrence cpu: that is no kernel for TPUs; use scan, wavefront or pallas."
        )
    if config.run.recurrence == "auto":  # which looks at the devices of this machine
        return replace(config, run=replace(config.run, recurrence="scan"))
    return config


def make_topology_mesh(topology: Topology) -> Mesh:
    """Make the mesh that training would use on these chips.

    Raises ConfigError when libtpu doesn't know the topology.
    """
    options: dict[str, Any] = {}
    if topology.chip.configuration is not None:
        options["chip_config_name"] = topology.chip.configuration
    if math.prod(topology.shape) == 1:  # older compilers expect four chips on a host
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        description: Any = topologies.get_topology_desc(
            platform="tpu", topology_name=topology.name, **options
        )
    except jax.errors.JaxRuntimeError as error:
        raise unknown_topology(topology.name) from error
    devices = sorted(description.devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (BATCH_AXIS,))


@pinned_settings()
def compile_training(config: Config, corpus: Corpus, mesh: Mesh) -> Compiled | TooLarge:
    """Compile the program that `fit` dispatches, for the devices of a mesh.

    Raises PallasError when the network is too large for the kernel, and CompilerError when the
    compiler runs out of another memory than HBM or its program can't be read back.
    """
    began = time.monotonic()
    rows = local_rows(config.train.batch_size, mesh).total
    try:
        with jax.set_mesh(mesh):  # as `fit` does: the Pallas kernel has to know it
            program = training_program(
                config, corpus.vocabulary_size, mesh, steps_per_epoch=-(-corpus.tokens // rows)
            )
            arguments = training_arguments(
                config,
                corpus.vocabulary_size,
                mesh,
                steps=corpus.steps_per_dispatch,
                tokens=corpus.tokens if corpus.on_devices else None,
                dtype=corpus.dtype,
            )
            compiled = program.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        return read_error(error)
    sizes = compiled.memory_analysis()
    memory = Memory(
        arguments=sizes.argument_size_in_bytes,
        outputs=sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
        temporaries=sizes.temp_size_in_bytes,
        program=sizes.generated_code_size_in_bytes,
    )
    seconds = time.monotonic() - began
    try:
        text = compiled.as_text()
    except jax.errors.JaxRuntimeError as error:  # seen with libtpu 0.0.52, unrolled loops, v5p
        raise CompilerError(
            "The program compiles, but this version of libtpu gives it back in a form that JAX "
            "can't read; name another topology, or take other versions of the two."
        ) from error
    return Compiled(text, memory, seconds)


def read_error(error: Exception) -> TooLarge:
    """Turn a compiler error into numbers or one of our errors.

    Raises CompilerError when another memory than HBM is too small, and the error itself when it
    says something else.
    """
    message = str(error)
    if "RESOURCE_EXHAUSTED" not in message:
        raise error
    sizes = re.findall(r"\((\d[\d.]*[KMGT])\)", message)
    if "CompileTimeHbmOom" in message and len(sizes) >= 2:
        return TooLarge(needs=sizes[0], has=sizes[1])
    words = re.search(r"Used \S+ of \S+ \w+", message)
    raise CompilerError(
        "The compiler can't place the program on these chips "
        f"({message.splitlines()[0] if words is None else words[0]}): use smaller layers, a "
        "smaller --batch-size or --recurrence scan."
    ) from error
