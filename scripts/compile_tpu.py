"""Compile the training program for TPUs that aren't here; tell whether it fits, and what it does.

python scripts/compile_tpu.py [quick|classic|...] [--topology v5e:2x4 v5e:16x16] [--json FILE]
    [train.py's flags]
"""

from jaxmusic.cli import begin, run_script
from jaxmusic.runtime.limits import TRAINING

begin(TRAINING)  # before what is heavy is imported

import sys
from dataclasses import dataclass, field, replace
from typing import Any

from jaxmusic.config import PRESETS, Config, split_preset
from jaxmusic.runtime.paths import OptionalPath, with_local_paths


@dataclass(frozen=True)
class ReportFlags:
    """What train.py doesn't have. Of its own flags, those of where files lie do nothing here."""

    # Chips to compile for, as GENERATION:SHAPE. --batch-size is the windows of a step over all
    # chips of the first one; on the others a chip has as many as there, so their batch grows.
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


def main() -> None:
    """Read the flags, compile, tell."""
    import tyro  # noqa: PLC0415 (as train.py: help and errors come before JAX)

    preset, arguments = split_preset(sys.argv[1:])
    marked: Any = tyro.conf.OmitArgPrefixes[Flags]
    flags: Flags = tyro.cli(
        marked,
        default=replace(Flags(), training=PRESETS[preset]),
        args=arguments,
        prog=f"compile_tpu.py {preset}",
        description=f"Compile the training of the preset {preset} (of {', '.join(PRESETS)}; the "
        "first word chooses) for TPUs that aren't here.",
    )
    flags = with_local_paths(flags)

    from jaxmusic.aot.libtpu import prepare_environment  # noqa: PLC0415

    prepare_environment()
    from jaxmusic.aot.session import run_report  # noqa: PLC0415 (imports JAX)

    report = flags.report
    run_report(
        preset,
        flags.training,
        report.topology,
        tokens=report.tokens,
        vocabulary_size=report.vocabulary_size,
        json_path=report.json,
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
