"""The recurrence that a run is computed with: which one, and that a resumed run keeps it."""

import dataclasses
from collections.abc import Callable

from jax.sharding import Mesh

from jaxmusic.config import Config
from jaxmusic.distributed.mesh import local_rows
from jaxmusic.nn.lstm import can_keep, choose_recurrence, why_not_fastest
from jaxmusic.nn.products import supported_precision
from jaxmusic.nn.recurrence import Workload
from jaxmusic.run_dir.environment import DEVICE_KIND, RECURRENCE, Environment


def lstm_workload(config: Config, mesh: Mesh) -> Workload:
    """What the choice of a recurrence depends on, on the devices of the mesh."""
    return Workload(
        platform=mesh.devices.flat[0].platform,
        steps=config.data.window,
        rows=local_rows(config.train.batch_size, mesh).total // mesh.size,
        hidden_sizes=(config.model.hidden_size,) * config.model.layers,
    )


def log_compromises(config: Config, mesh: Mesh, log: Callable[[str], None]) -> None:
    """Log the settings that the devices of the mesh don't support, and why training is slow."""
    precision, workload = config.train.precision, lstm_workload(config, mesh)
    if supported_precision(precision, workload.platform) != precision:
        log("TensorFloat-32 (--precision tf32) needs a GPU: this trains in float32.")
    if config.run.recurrence == "auto" and (reason := why_not_fastest(workload)) is not None:
        log(f"Training takes about twice as long as it could: {reason}.")


def keep_recurrence(
    config: Config,
    before: Environment | None,
    mesh: Mesh,
    log: Callable[[str], None],
) -> Config:
    """The settings, with `auto` replaced by the recurrence that computed the steps before.

    On devices of the same kind that still support it.
    """
    if before is None or config.run.recurrence != "auto":
        return config
    workload = lstm_workload(config, mesh)
    kept, chosen = before.get(RECURRENCE), choose_recurrence("auto", workload).name
    same_kind = before.get(DEVICE_KIND) == mesh.devices.flat[0].device_kind
    if kept == chosen or not same_kind or not can_keep(kept, workload):
        return config
    log(
        f"The LSTM layers are computed as in this run before, as with --recurrence {kept}. "
        f"(--recurrence {chosen}, which suits this machine, would change bits.)"
    )
    return dataclasses.replace(config, run=dataclasses.replace(config.run, recurrence=kept))
