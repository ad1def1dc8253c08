"""One run of compile_tpu.py: compile for each topology, read the programs, log."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from jaxmusic.aot.chips import Topology, read_topology
from jaxmusic.aot.compiling import (
    Compiled,
    Corpus,
    TooLarge,
    check_for_tpus,
    compile_training,
    make_topology_mesh,
)
from jaxmusic.aot.hlo import read_module
from jaxmusic.aot.libtpu import CompilerError
from jaxmusic.aot.report import Column, assumption_lines, table_lines, to_json
from jaxmusic.aot.roofline import ASSUMPTIONS, estimate
from jaxmusic.aot.work import work_of
from jaxmusic.benchmarks.results.output_files import check_output
from jaxmusic.benchmarks.workload import SYNTHETIC_TOKENS, Workload, training_flop
from jaxmusic.config import Config, ConfigError
from jaxmusic.corpus import corpus as corpora
from jaxmusic.data.loader import MAX_STEPS_PER_DISPATCH
from jaxmusic.storage.json_text import render_json
from jaxmusic.storage.outputs import write_output

VOCABULARY_SIZE = 359  # of the notebooks' own set
PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax")


def run_report(
    preset: str,
    config: Config,
    names: Sequence[str],
    *,
    tokens: int | None,
    vocabulary_size: int | None,
    json_path: str | None,
) -> None:
    """Compile a preset's training for the named topologies, and print what was found.

    Raises ConfigError for wrong flags, PallasError and CompilerError for what can't be compiled;
    also CompilerError, after the report, where the program doesn't fit into a chip's memory.
    """
    config = check_for_tpus(config)
    check_output("--json", json_path)
    topologies = [read_topology(name) for name in names]
    corpus = describe_corpus(config, tokens=tokens, vocabulary_size=vocabulary_size)
    meshes = [make_topology_mesh(topology) for topology in topologies]
    windows_a_chip = -(-config.train.batch_size // topologies[0].chips)
    columns = []
    for topology, mesh in zip(topologies, meshes, strict=True):
        batch = windows_a_chip * topology.chips
        print(
            f"{topology.name}: compiling for {topology.chips:,} chips (a minute or two) ...",
            file=sys.stderr,
            flush=True,
        )
        sized = replace(config, train=replace(config.train, batch_size=batch))
        compiled = compile_training(sized, corpus, mesh)
        columns.append(describe(sized, corpus, topology, compiled))
    print(_title(preset, config, corpus))
    print("\n".join(["", *table_lines(columns), "", *assumption_lines()]))
    if json_path is not None:
        document = {
            "command": shlex.join(["python", *sys.argv]),
            "preset": preset,
            "settings": asdict(config),
            "corpus": asdict(corpus),
            "versions": {name: version(name) for name in PACKAGES},
            "assumptions": ASSUMPTIONS,
            "topologies": to_json(columns),
        }
        write_output(json_path, render_json(document, indent=1) + "\n")
    for column in columns:
        if isinstance(column.compiled, TooLarge):
            raise CompilerError(
                f"On {column.topology.name} the program needs {column.compiled.needs} of a chip's "
                f"{column.compiled.has}: give a --batch-size below {column.batch:,}, or more chips."
            )


def describe_corpus(config: Config, *, tokens: int | None, vocabulary_size: int | None) -> Corpus:
    """The size of the corpus, by flags or a real one. Raises ConfigError for invalid sizes."""
    if config.data.corpus is not None:
        prepared = corpora.Corpus.open(config.data.corpus)
        tokens = tokens or len(prepared.tokens)
        vocabulary_size = vocabulary_size or len(prepared.vocabulary)
    tokens = SYNTHETIC_TOKENS if tokens is None else tokens
    vocabulary_size = VOCABULARY_SIZE if vocabulary_size is None else vocabulary_size
    if tokens <= config.data.window:
        raise ConfigError(
            f"--tokens is {tokens}, but must be above the --window of {config.data.window}."
        )
    if vocabulary_size < 1:
        raise ConfigError(f"--vocabulary-size is {vocabulary_size}, but must be 1 or more.")
    width = 2 if vocabulary_size <= 2**16 else 4
    # As training decides it.
    on_devices = tokens * width <= config.run.device_corpus_mib * 2**20 and tokens < 2**31
    steps = (config.run.steps_per_dispatch or MAX_STEPS_PER_DISPATCH) if on_devices else 1
    return Corpus(tokens, vocabulary_size, on_devices, steps)


def describe(
    config: Config, corpus: Corpus, topology: Topology, compiled: Compiled | TooLarge
) -> Column:
    """Compile for one topology and describe the program."""
    workload = Workload(
        config.model, config.train, window=config.data.window,
        vocabulary_size=corpus.vocabulary_size,
    )  # fmt: skip
    flop = training_flop(workload) * config.train.batch_size
    if isinstance(compiled, TooLarge):
        return Column(topology, config.train.batch_size, flop, compiled)
    passes = 6 if config.train.precision == "f32" else 1
    work = work_of(read_module(compiled.text), kernel_passes=passes)
    return Column(topology, config.train.batch_size, flop, compiled, work, estimate(work, topology))


def _title(preset: str, config: Config, corpus: Corpus) -> str:
    words: list[Any] = [
        f"{preset}: {config.model.layers} x {config.model.hidden_size}",
        f"window {config.data.window}",
        config.train.precision,
        f"--recurrence {config.run.recurrence}",
    ]
    place = "on every chip" if corpus.on_devices else "on the host"
    words.append(f"{corpus.tokens:,} tokens {place}, {corpus.vocabulary_size:,} different")
    words.append(f"{corpus.steps_per_dispatch} steps a dispatch")
    versions = ", ".join(f"{name} {version(name)}" for name in ("jax", "libtpu"))
    return f"{', '.join(words)} ({versions})"
