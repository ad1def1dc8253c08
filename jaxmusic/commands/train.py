"""Train a network on MIDI files, or resume a run that was stopped."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tyro

from jaxmusic.commands.scheme_options import SchemeOptions
from jaxmusic.config import PRESETS, Config, split_preset
from jaxmusic.runtime.printable import as_argument, printable
from jaxmusic.runtime.streams import optional_output

if TYPE_CHECKING:
    from jaxmusic.training.hooks import Hook


@dataclass(frozen=True)
class _Flags(Config):
    scheme_options: SchemeOptions = field(default_factory=SchemeOptions)

    def config(self) -> Config:
        """The settings of the run, with the complete name of the scheme."""
        settings = {part.name: getattr(self, part.name) for part in dataclasses.fields(Config)}
        scheme = self.scheme_options.complete(self.data.scheme)
        return Config(**settings | {"data": dataclasses.replace(self.data, scheme=scheme)})


@optional_output()
def main(program: str, arguments: Sequence[str], *, hooks: "Sequence[Hook]" = ()) -> None:
    """Parse the flags, train, and print where the results are."""
    preset, flags = split_preset(list(arguments))
    config = tyro.cli(
        tyro.conf.OmitArgPrefixes[_Flags],
        default=_Flags(**vars(PRESETS[preset])),
        args=flags,
        prog=f"{program} {preset}",
        description=f"Train with the preset {preset} (the first word chooses one of "
        f"{', '.join(PRESETS)}). With the --run-dir of a stopped run, training resumes.",
    ).config()
    if config.run.run_dir is None:
        run = dataclasses.replace(config.run, run_dir=f"runs/{preset}")
        config = dataclasses.replace(config, run=run)

    # Here, since help and errors of the flags must not wait for JAX.
    import jax  # noqa: PLC0415

    from jaxmusic.trainer import fit  # noqa: PLC0415

    try:
        best = fit(config, hooks=hooks)
    except KeyboardInterrupt:  # once training steps run, a signal ends them as Stopped
        print("Stopped; nothing had to be saved.")
        raise
    if jax.process_index() > 0:
        return  # of several processes the first one prints
    generate = "jaxmusic generate" if program == "jaxmusic train" else "python scripts/generate.py"
    print(
        f"Done: {printable(best.path)}, best after step {best.step:,}. New music:\n"
        f"  {generate} {as_argument(best.path)}"
    )
