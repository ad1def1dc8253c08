"""Compiling for TPUs."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import Mistake

HERE = a.patched("jaxmusic.aot.libtpu.find_spec", lambda name: name)  # libtpu

COMPILING = [
    Mistake(
        "compile_tpu.py fast", 2,
        "Error: There is no preset fast: give one of classic, classic-64, quick.",
    ),
    Mistake("compile_tpu.py --tokens x", 2, "--tokens:"),
    Mistake(
        "compile_tpu.py", 1, "Error: The compiler for TPUs, libtpu, is not installed: pip install",
        a.patched("jaxmusic.aot.libtpu.find_spec", lambda name: None),
    ),
    Mistake("compile_tpu.py --epochs 0", 2, "Error: --epochs is 0, but must be 1 or more.", HERE),
    Mistake(
        "compile_tpu.py --devices 2", 2,
        "Error: --devices 2: here --topology says which devices there are.",
        HERE,
    ),
    Mistake(
        "compile_tpu.py --recurrence cpu", 2,
        "no kernel for TPUs; use scan, wavefront or pallas.", HERE,
    ),
    Mistake(
        "compile_tpu.py --topology v9:2x2", 2, "Error: --topology v9:2x2: there is no such",
        HERE,
    ),
    Mistake(
        "compile_tpu.py --tokens 9", 2,
        "Error: --tokens is 9, but must be above the --window of 100.",
        HERE,
    ),
    Mistake("compile_tpu.py --vocabulary-size 0", 2, "--vocabulary-size is 0, but must be 1", HERE),
    Mistake(
        "compile_tpu.py --corpus none", 1,
        "Error: none is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus DIR.",
        HERE,
    ),
    Mistake(
        "compile_tpu.py --json none/x", 2,
        "Error: --json none/x: there is no folder none; make it, or give another file.",
        HERE,
    ),
]  # fmt: skip
