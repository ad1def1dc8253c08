"""Make a large set of varied MIDI files out of a small one, to measure preparing with.

python scripts/dev/make_large_set.py OUT --files 10000 [--midi-dir midi_songs] [--seed 0]

Each file is a few cuts of songs one after another, transposed, re-timed and played by other
instruments; one in a hundred is damaged. File k of a seed is the same whatever `--files` is.
"""

import sys

from jaxmusic.cli import run_module
from jaxmusic.runtime.limits import PREPARING

if __name__ == "__main__":
    sys.exit(
        run_module(
            "tools.make_large_set",
            PREPARING,
            program="make_large_set.py",
            arguments=sys.argv[1:],
        )
    )
