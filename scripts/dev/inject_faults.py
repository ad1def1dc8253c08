"""Kill trainings at random moments, resume them, and check that nothing is lost.

python scripts/dev/inject_faults.py [--stops 100] [--signals KILL TERM INT] [--processes 1]
    [--seed 0]

A run that was stopped in each of its phases must end with the same bits as an undisturbed one.
"""

import sys

from jaxmusic.cli import run_module
from jaxmusic.runtime.limits import TRAINING

if __name__ == "__main__":
    sys.exit(
        run_module(
            "tools.inject_faults", TRAINING, program="inject_faults.py", arguments=sys.argv[1:]
        )
    )
