"""Parse bad MIDI files as preparing does, and check what the parser promises.

python scripts/dev/fuzz_midi.py [--files 50000] [--seed 0] [--from FOLDER ...] [--workers N]

Each file gives tokens or a named reason, in at most 2 seconds of processor time and 500 MB, and
kills no process. Exit code 1 if one doesn't; it is named by seed and number, and kept.
"""

import sys

from jaxmusic.cli import run_module
from jaxmusic.runtime.limits import PREPARING

if __name__ == "__main__":
    sys.exit(
        run_module("tools.fuzz_midi", PREPARING, program="fuzz_midi.py", arguments=sys.argv[1:])
    )
