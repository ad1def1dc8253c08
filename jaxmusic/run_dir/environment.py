"""What the bits of a run depend on besides its settings: environment.json in its folder.

A run may be resumed in another environment, which is logged: it then equals an uninterrupted run
within rounding, not bit for bit.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import msgspec
from jax.sharding import Mesh

from jaxmusic.errors import UserError
from jaxmusic.nn.cpu.build import build_key, processor
from jaxmusic.nn.lstm import RECURRENCES
from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.versions import files_digest, package_versions
from jaxmusic.storage.atomic import write_atomic
from jaxmusic.storage.json_text import render_json
from jaxmusic.storage.reading import Count, read_json, read_verified
from jaxmusic.training.jax_settings import compile_settings

Environment = dict[str, Any]  # by names that complete "NAME changed from 2 to 1"

CORES = "the number of cores"
# How to undo a change. (XLA divides sums by its number of threads, whatever the cores are.)
REMEDIES = {CORES: "NPROC={} in the environment keeps the bits"}
RECURRENCE, DEVICE_KIND = "recurrence", "the kind of devices"
OF_RECURRENCE, KERNEL = "the digest of its sources", "the build of the C++ kernel"

# Modules that determine a step's numbers. (RECURRENCES names those of each recurrence.)
COMPUTING = (
    "data/batch.py", "data/batch_sampler.py", "data/dataset.py", "data/loader.py",
    "data/shuffle.py", "data/songs/lanes.py", "data/songs/sampler.py", "data/songs/windows.py",
    "data/token_map.py", "data/windows.py", "distributed/mesh.py",
    "distributed/row_range.py", "nn/cell.py", "nn/devices.py", "nn/dropout.py", "nn/lstm.py",
    "nn/model.py", "nn/products.py", "evaluation/held_out.py", "evaluation/metrics.py",
    "evaluation/whole_songs.py",
    "training/compensated.py", "training/early_stopping.py", "training/jax_settings.py",
    "training/optimizer.py", "training/programs.py", "training/run_length.py", "training/state.py",
    "training/step.py",
)  # fmt: skip


def current_environment(recurrence: str, mesh: Mesh, most_steps: int) -> Environment:
    """Describe the environment of this training.

    Args:
        recurrence: how the LSTM layers are computed, the name of an entry of RECURRENCES.
        most_steps: room for steps in a dispatch; with another, a program may round differently.
    """
    device = mesh.devices.flat[0]
    here: Environment = {
        RECURRENCE: recurrence,
        OF_RECURRENCE: files_digest(RECURRENCES[recurrence].sources),
        "the digest of the other sources": files_digest(COMPUTING),
        DEVICE_KIND: device.device_kind,
        "the number of devices": mesh.size,
        "the number of processes": jax.process_count(),
        "the room for steps in a dispatch": most_steps,
        "the version of the backend": device.client.platform_version,
    }
    if device.platform == "cpu":
        # XLA divides sums among threads, and compiles for this processor.
        here |= {CORES: cores(), "the processor": processor()}
    if recurrence == "cpu":
        here[KERNEL] = build_key()
    versions = {f"the version of {name}": version for name, version in package_versions().items()}
    return here | versions | compile_settings()


def cores() -> int:
    """Number of threads of XLA on CPUs: one a core that this process may use."""
    for name in ("PJRT_NPROC", "NPROC"):  # where XLA looks first
        if (given := os.environ.get(name, "")).isdigit() and int(given) > 0:
            return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def merge_environments(environments: Sequence[Environment]) -> Environment:
    """Merge the environments of several processes: where they differ, a list of all values."""
    first, *others = environments
    return {
        name: value
        if all(other.get(name) == value for other in others)
        else [environment.get(name) for environment in environments]
        for name, value in first.items()
    }


def changes(before: Environment, now: Environment) -> list[str]:
    """List the differences, each as "NAME changed from BEFORE to NOW"."""
    same_way = before.get(RECURRENCE) == now.get(RECURRENCE)
    left_out = set() if same_way else {OF_RECURRENCE, KERNEL}  # they change with the way
    return [
        f"{name} changed from {_shown(before.get(name))} to {_shown(now.get(name))}"
        + (
            f" ({REMEDIES[name].format(before[name])})"
            if name in REMEDIES and name in before
            else ""
        )
        for name in (*now, *(before.keys() - now.keys()))
        if before.get(name) != now.get(name) and name not in left_out
    ]


class Row(msgspec.Struct, frozen=True):
    """A row of environment.json."""

    from_step: Count
    computed_with: dict[str, Any]


class EnvironmentFile:
    """environment.json: the environments of a run, each from a step on."""

    def __init__(self, path: Path, step: int) -> None:
        """Read the file of a run that resumes at `step`; rows of later steps are lost work.

        A missing or damaged file is not an error: `record` reports it.
        """
        self._path = path
        self._step = step
        self._flaw = ""
        self._rows: list[Row] = []
        if step:
            try:
                rows = read_verified(path, _read_rows, UserError)
                self._rows = [row for row in rows if row.from_step < step]
            except UserError as error:
                self._flaw = str(error)

    @property
    def last(self) -> Environment | None:
        """The environment of the steps before; None if there are none or it is unknown."""
        return self._rows[-1].computed_with if self._rows else None

    def record(self, now: Environment) -> str | None:
        """Record the environment from here on; return a line to log if it has changed.

        Raises WriteError.
        """
        changed = [] if self.last is None else changes(self.last, now)
        if changed or self.last is None:
            self._rows.append(Row(self._step, now))
        rows = [msgspec.structs.asdict(row) for row in self._rows]
        write_atomic(self._path, render_json(rows, indent=1) + "\n")
        if self._flaw:
            return f"Going on, but perhaps not bit for bit: {self._flaw}."
        if changed:
            return f"Going on, but not bit for bit: {'; '.join(changed)}."
        return None


def _read_rows(path: Path) -> list[Row]:
    rows = read_json(path, list[Row])
    if not rows:
        raise ValueError("it lists no environment")
    return rows


def _shown(value: Any) -> str:
    return "none" if value in (None, "") else printable(str(value))
