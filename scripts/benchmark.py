"""Measure training steps, scaling, reading, preparing and generating.

python scripts/benchmark.py train [classic|...] [--against keras-jax,keras-tensorflow,torch,flax]
python scripts/benchmark.py scaling [classic|...] [--devices 1 2 4 8] [--processes 1 2] [--weak]
python scripts/benchmark.py data [MIDI_DIR]
python scripts/benchmark.py prepare [--files 1000 10000]
python scripts/benchmark.py generate [classic|...]
    each: [--json FILE] [--plot FILE] [--baseline FILE]
"""

import sys

from jaxmusic.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("benchmark", "benchmark.py", sys.argv[1:]))
