"""Compile the training program for TPUs, without a TPU; report its memory, work and speed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tyro

from jaxmusic.config import PRESETS, Config, split_preset
from jaxmusic.runtime.paths import OptionalPath, with_local_paths


@dataclass(frozen=True)
class ReportFlags:
    """The flags that train.py lacks. Those of its own flags that name files do nothing here."""

    # Chips to compile for, as GENERATION:SHAPE. --batch-size is the windows of a step over all
    # chips of the first one; the others keep the windows of each chip, so their batch grows.
    topology: tuple[str, ...] = ("v5e:2x4",)
    # Tokens of the corpus (default: those of --corpus, else 57,177, as the notebooks' own set).
    tokens: int | None = None
    # Different tokens (default: those of --corpus, else 359).
    vocabulary_size: int | None = None
    # Write every number, the settings and the versions to this file.
    json: OptionalPath = None


@dataclass(frozen=True)
class Flags:
    """All flags."""

    report: ReportFlags = field(default_factory=ReportFlags)
    training: Config = field(default_factory=Config)


def main(program: str, arguments: Sequence[str]) -> None:
    """Parse the flags, compile, print the report."""
    preset, rest = split_preset(list(arguments))
    marked: Any = tyro.conf.OmitArgPrefixes[Flags]
    flags: Flags = tyro.cli(
        marked,
        default=replace(Flags(), training=PRESETS[preset]),
        args=rest,
        prog=f"{program} {preset}",
        description=f"Compile the training of the preset {preset} (the first word chooses one of "
        f"{', '.join(PRESETS)}) for TPUs, without a TPU.",
    )
    flags = with_local_paths(flags)

    # Here, since help and errors of the flags must not wait for JAX, which reads the environment.
    from jaxmusic.aot.libtpu import prepare_environment  # noqa: PLC0415

    prepare_environment()
    from jaxmusic.aot.session import run_report  # noqa: PLC0415

    report = flags.report
    run_report(
        preset,
        flags.training,
        report.topology,
        tokens=report.tokens,
        vocabulary_size=report.vocabulary_size,
        json_path=report.json,
    )
