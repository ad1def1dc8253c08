"""The recurrence that a run is computed with: which one, and that a resumed run keeps it."""

import dataclasses
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from jaxmusic.config import Config
from jaxmusic.nn.lstm import can_keep, recurrence_used
from jaxmusic.run_dir.environment import DEVICE_KIND, RECURRENCE, Environment


def resolve_recurrence(config: Config, mesh: Mesh, rows: int) -> str:
    """What `--recurrence` comes to on the devices of the mesh, for batches of so many rows."""
    with jax.set_mesh(mesh):
        return recurrence_used(
            config.run.recurrence, layers=config.model.layers, steps=config.data.window, rows=rows
        )


def keep_recurrence(
    config: Config,
    before: Environment | None,
    mesh: Mesh,
    rows: int,
    log: Callable[[str], None],
) -> Config:
    """The settings, with `auto` replaced by the recurrence that computed the steps before.

    On devices of the same kind that still support it.
    """
    if before is None or config.run.recurrence != "auto":
        return config
    kept, chosen = before.get(RECURRENCE), resolve_recurrence(config, mesh, rows)
    same_kind = before.get(DEVICE_KIND) == mesh.devices.flat[0].device_kind
    if kept == chosen or not same_kind or not can_keep(kept):
        return config
    log(
        f"The LSTM layers are computed as in this run before, as with --recurrence {kept}. "
        f"(--recurrence {chosen}, which suits this machine, would change bits.)"
    )
    return dataclasses.replace(config, run=dataclasses.replace(config.run, recurrence=kept))
