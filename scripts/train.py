"""Train a network on MIDI files, or resume a run that was stopped.

python scripts/train.py [quick|classic|classic-64|modern] [--midi-dir DIR] [--run-dir DIR] [...]
"""

import sys

from jaxmusic.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("train", "train.py", sys.argv[1:]))
