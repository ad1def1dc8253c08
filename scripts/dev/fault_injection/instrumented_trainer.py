"""An instrumented trainer: it reports each phase, so that it can be stopped in the middle of one.

python instrumented_trainer.py DESCRIPTOR train.py's arguments: when a phase begins, its
name and the step go to the file descriptor as a line. Otherwise it trains as train.py does.
"""

import os
import sys
from typing import TYPE_CHECKING, Literal, get_args

from jaxmusic.cli import run_script

if TYPE_CHECKING:
    import jax

    from jaxmusic.training.hooks import Hook

# In the order of a training. The first one is importing JAX and all else.
Phase = Literal[
    "starting", "preparing", "restoring", "compiling", "stepping", "evaluating", "saving", "saved",
    "ending",
]  # fmt: skip
PHASES: tuple[Phase, ...] = get_args(Phase)


def report(descriptor: int, phase: str, step: int) -> None:
    """Write a line of the protocol."""
    os.write(descriptor, f"{phase} {step}\n".encode())


def make_hook(descriptor: int) -> "Hook":
    """A hook that reports the phases."""
    # Importing JAX takes seconds, which belong to the phase `starting`.
    from jaxmusic.training.hooks import Hook  # noqa: PLC0415

    class PhaseReporter(Hook):
        def on_phase(self, phase: str, step: int) -> None:
            report(descriptor, phase, step)

        def after_steps(self, step: int, losses: "jax.Array") -> None:
            report(descriptor, "stepping", step)

        def before_save(self, step: int) -> None:
            report(descriptor, "saving", step)

        def after_save(self, step: int) -> None:
            report(descriptor, "saved", step)

    return PhaseReporter()


def main() -> None:
    """Train with train.py's flags, and the hook."""
    descriptor = int(sys.argv[1])
    report(descriptor, PHASES[0], 0)
    from jaxmusic.commands import train  # noqa: PLC0415

    train.main("train.py", sys.argv[2:], hooks=[make_hook(descriptor)])


if __name__ == "__main__":
    sys.exit(run_script(main))
