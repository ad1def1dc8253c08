"""Compile the training program for TPUs, without a TPU; report its memory, work and speed.

python scripts/compile_tpu.py [quick|classic|...] [--topology v5e:2x4 v5e:16x16] [--json FILE]
    [train.py's flags]
"""

import sys

from jaxmusic.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("compile_tpu", "compile_tpu.py", sys.argv[1:]))
