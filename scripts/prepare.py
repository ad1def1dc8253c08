"""Turn a folder of MIDI files into a corpus to train on, or inspect a corpus.

python scripts/prepare.py MIDI_DIR --corpus DIR [--workers N] [--verify] [--deduplicate] [...]
python scripts/prepare.py --notes FILE --corpus DIR
python scripts/prepare.py --show DIR
python scripts/prepare.py --check DIR
"""

import sys

from jaxmusic.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("prepare", "prepare.py", sys.argv[1:]))
