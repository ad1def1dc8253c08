"""Compiling for TPUs."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import Mistake

HERE = a.patched("jaxmusic.aot.libtpu.find_spec", lambda name: name)  # libtpu

COMPILING = [
    Mistake("compile_tpu.py fast", 2, "preset fast"),
    Mistake("compile_tpu.py --tokens x", 2, "--tokens"),
    Mistake(
        "compile_tpu.py", 1, "compiler libtpu",
        a.patched("jaxmusic.aot.libtpu.find_spec", lambda name: None),
    ),
    Mistake("compile_tpu.py --epochs 0", 2, "--epochs 0 1", HERE),
    Mistake("compile_tpu.py --devices 2", 2, "--devices 2 --topology", HERE),
    Mistake("compile_tpu.py --recurrence cpu", 2, "--recurrence cpu kernel TPU", HERE),
    Mistake("compile_tpu.py --topology v9:2x2", 2, "--topology v9:2x2", HERE),
    Mistake("compile_tpu.py --tokens 9", 2, "--tokens 9 --window 100", HERE),
    Mistake("compile_tpu.py --vocabulary-size 0", 2, "--vocabulary-size 0 1", HERE),
    Mistake("compile_tpu.py --corpus none", 1, "none corpus", HERE),
    Mistake("compile_tpu.py --json none/x", 2, "--json none/x folder", HERE),
]  # fmt: skip
