"""Generate music with a trained run.

python scripts/generate.py RUN_DIR [--out FILE.mid] [--length 500] [--count 1] [--seed 0]
    [--greedy | --temperature T --top-k K --top-p P] [--prime FILE.mid]
"""

import sys

from jaxmusic.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("generate", "generate.py", sys.argv[1:]))
