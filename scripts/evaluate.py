"""Evaluate a trained run: likelihood of held-out songs, and its music beside theirs.

python scripts/evaluate.py RUN_DIR [--count 50] [--length 500] [--json FILE] [--seed 0]
    [--corpus DIR | --midi-dir DIR] [--held-out-dir DIR]
"""

import sys

from jaxmusic.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("evaluate", "evaluate.py", sys.argv[1:]))
