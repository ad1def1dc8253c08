"""Train a network on MIDI files, or go on with a run that was stopped.

python scripts/train.py [quick|classic|classic-64] [--midi-dir DIR] [--run-dir DIR] [...]
"""

from jaxmusic.cli import begin, run_script
from jaxmusic.runtime.limits import TRAINING

begin(TRAINING)  # before what is heavy is imported

import dataclasses
import sys

from jaxmusic.config import PRESETS, Config, split_preset
from jaxmusic.runtime.printable import as_argument, printable
from jaxmusic.runtime.streams import optional_output


@optional_output()
def main() -> None:
    """Read the flags, train, and tell where the results lie."""
    # Imported here, not above: the processes that parse MIDI files import this script too, and
    # shall neither wait for JAX nor take an accelerator.
    import tyro  # noqa: PLC0415

    preset, arguments = split_preset(sys.argv[1:])
    config = tyro.cli(
        tyro.conf.OmitArgPrefixes[Config],
        default=PRESETS[preset],
        args=arguments,
        prog=f"train.py {preset}",
        description=f"Train with the preset {preset} (of {', '.join(PRESETS)}; the first word "
        "chooses). Started again with the same --run-dir, training goes on.",
    )
    if config.run.run_dir is None:
        run = dataclasses.replace(config.run, run_dir=f"runs/{preset}")
        config = dataclasses.replace(config, run=run)

    import jax  # noqa: PLC0415

    from jaxmusic.trainer import fit  # noqa: PLC0415

    try:
        best = fit(config)
    except KeyboardInterrupt:  # once it trains, it ends as Stopped
        print("Stopped; nothing had to be saved.")
        raise
    if jax.process_index() > 0:
        return  # the first of several processes speaks
    print(
        f"Done: {printable(best.path)}, best after step {best.step:,}. New music:\n"
        f"  python scripts/generate.py {as_argument(best.path)}"
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
