"""A training that says what it is doing, so that it can be stopped in the middle of it.

python victim.py DESCRIPTOR train.py's arguments: each phase is a line to the file descriptor when
it begins, its name and the step. Nothing else is other than in train.py.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Literal, get_args

from jaxmusic.cli import run_script

# In the order of a training. The first one is importing JAX and all else.
Phase = Literal[
    "starting", "preparing", "restoring", "compiling", "stepping", "evaluating", "saving", "saved",
    "ending",
]  # fmt: skip
PHASES: tuple[Phase, ...] = get_args(Phase)


def telling(descriptor: int) -> None:
    """Have the phases of a training told."""
    from jaxmusic import trainer as train  # noqa: PLC0415 (seconds; what comes before is a phase too)
    from jaxmusic.distributed.signals import StopSignals  # noqa: PLC0415
    from jaxmusic.run_dir.checkpoint import Checkpoints  # noqa: PLC0415
    from jaxmusic.training.metrics import Reporter  # noqa: PLC0415

    last = 0

    def mark(phase: str, step: int | None = None) -> None:
        nonlocal last
        last = last if step is None else step
        os.write(descriptor, f"{phase} {last}\n".encode())

    def told(
        owner: Any, name: str, phase: str, step: int | None = None, after: str | None = None
    ) -> None:
        """Tell a call; `step` is the place of that argument."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def telling_function(*arguments: Any, **others: Any) -> Any:
            mark(phase, None if step is None else arguments[step])
            returned = function(*arguments, **others)
            if after is not None:
                mark(after)
            return returned

        setattr(owner, name, telling_function)

    told(train, "_settle", "preparing")
    told(train, "_starting_state", "restoring")
    told(StopSignals, "compile", "compiling")
    told(Reporter, "steps", "stepping", 1)
    told(train, "_epoch_ends", "evaluating", 1)
    told(Checkpoints, "save", "saving", 1, after="saved")
    told(train, "_best", "ending")


def main() -> None:
    """Train, as train.py does with the same arguments."""
    descriptor = int(sys.argv[1])
    os.write(descriptor, f"{PHASES[0]} 0\n".encode())
    telling(descriptor)
    from jaxmusic.commands import train  # noqa: PLC0415

    train.main("train.py", sys.argv[2:])


if __name__ == "__main__":
    sys.exit(run_script(main))
