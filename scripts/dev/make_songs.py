"""Write the MIDI files of midi_songs/, from its sources and from the seeds of the composer.

python scripts/dev/make_songs.py [--out FOLDER] [--tables]
"""

import sys

from jaxmusic.cli import run_module
from jaxmusic.runtime.limits import PREPARING

if __name__ == "__main__":
    sys.exit(
        run_module("tools.make_songs", PREPARING, program="make_songs.py", arguments=sys.argv[1:])
    )
