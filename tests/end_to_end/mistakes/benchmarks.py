"""Benchmarks of the wrong things."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import Mistake

BENCHMARKS = [
    Mistake("benchmark.py", 2, "train,"),
    Mistake("benchmark.py train slow", 2, "invalid choice 'slow' for argument"),
    Mistake(
        "benchmark.py train --against numpy", 2,
        "Error: --against numpy: there is no such peer; there are keras-jax, keras-tensorflow, "
        "torch, flax, jaxmusic-host, jaxmusic-ready.",
    ),
    Mistake("benchmark.py train --rounds 0", 2, "Error: --rounds is 0, but must be 1 or more."),
    Mistake(
        "benchmark.py train --batch-size 0", 2, "Error: --batch-size is 0, but must be 1 or more.",
    ),
    Mistake("benchmark.py train --window 0", 2, "Error: --window is 0, but must be 1 or more."),
    Mistake(
        "benchmark.py train --steps-per-dispatch 0", 2,
        "Error: --steps-per-dispatch must be one number or more, each of them 1 or more.",
    ),
    Mistake(
        "benchmark.py train --steps-per-dispatch", 2,
        "Error: --steps-per-dispatch must be one number or more, each of them 1 or more.",
    ),
    Mistake(
        "benchmark.py train --corpus none", 1,
        "Error: none is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus DIR.",
    ),
    Mistake(
        "benchmark.py train --corpus songs-corpus --batch-size 500", 2,
        "Error: --batch-size 500: the tokens give 20 windows of 100; give a smaller one, or more "
        "tokens.",
    ),
    Mistake(
        "benchmark.py train --json none/x", 2,
        "Error: --json none/x: there is no folder none; make it, or give another file.",
    ),
    Mistake("benchmark.py train --json empty", 2, "Error: --json empty is a folder: give a file."),
    Mistake(
        "benchmark.py train --plot none/x.svg", 2,
        "Error: --plot none/x.svg: there is no folder none; make it, or give another file.",
    ),
    Mistake(
        "benchmark.py train --plot x.doc", 2,
        "Error: --plot x.doc is no .png, .svg or .pdf: give one of these.",
    ),
    Mistake(
        "benchmark.py train --plot x.svg", 2,
        "Error: --plot needs matplotlib: pip install -e '.[plot]'.",
        a.not_installed("matplotlib"),
    ),
    Mistake(
        "benchmark.py train --baseline none", 1,
        "Error: --baseline none can't be read as a benchmark's JSON: No such file or directory. "
        "Give a file that --json wrote.",
    ),
    Mistake(
        "benchmark.py train --baseline empty", 1,
        "Error: --baseline empty can't be read as a benchmark's JSON: Is a directory. Give a file "
        "that --json wrote.",
    ),
    Mistake(
        "benchmark.py train --baseline songs-run/config.json", 1, "can't be read as a benchmark's",
    ),
    Mistake(
        "benchmark.py train --baseline x", 1,
        "Error: --baseline x is a benchmark of the format 9; this version reads 1: measure anew, "
        "or give another file.",
        a.written("x", '{"format": 9}'),
    ),
    Mistake(
        "benchmark.py train --baseline x", 2,
        "Error: --baseline x is a benchmark of data, not of train: give another file.",
        a.written(
            "x", '{"format": 1, "kind": "data", "settings": {}, "machine": {}, "measurements": []}'
        ),
    ),
    Mistake(
        "benchmark.py data none", 1, "Error: There is no folder none: give a folder of MIDI files.",
    ),
    Mistake(
        "benchmark.py data songs --copies 0", 2, "Error: --copies is 0, but must be 1 or more.",
    ),
    Mistake("benchmark.py prepare --files 0", 2, "Error: --files is 0, but must be 1 or more."),
    Mistake("benchmark.py prepare --seed -1", 2, "Error: --seed is -1, but must be 0 or more."),
    Mistake(
        "benchmark.py prepare --midi-dir none", 1,
        "Error: There is no folder none: give a folder of MIDI files.",
    ),
    Mistake(
        "benchmark.py prepare --midi-dir bad", 1,
        "Error: None of the 1 MIDI files in bad has any notes: give other songs.",
    ),
    Mistake(
        "benchmark.py prepare --midi-dir songs --sets . --files 1", 1,
        "Error: Preparing failed. None of the 1 MIDI files in 1-0 gives any tokens: 1 can't be "
        "read, 0 have no notes that count. Give others. The first one skipped: a.mid: it is not a "
        "MIDI file (no MThd at the start).",
        a.several(a.as_folder("1-0"), a.copied("bad/a.mid", "1-0/a.mid")),
    ),
    Mistake(
        "benchmark.py prepare --midi-dir songs --sets . --files 1", 2,
        "Error: --sets .: 1-0/more is needed, and is there already, of a benchmark that was "
        "stopped or of your own: move it away, or give another --sets.",
        a.several(a.as_folder("1-0"), a.as_folder("1-0/more")),
    ),
    Mistake(
        "benchmark.py generate --against torch", 2,
        "Error: --against torch: only Keras's way of generating is compared; give keras-jax, "
        "keras-tensorflow, both or ''.",
    ),
    Mistake("benchmark.py generate --length 0", 2, "Error: --length is 0, but must be 1 or more."),
    Mistake(
        "benchmark.py generate --pieces 0", 2,
        "Error: --pieces must be one number or more, each of them 1 or more.",
    ),
    Mistake("benchmark.py scaling --rounds 0", 2, "Error: --rounds is 0, but must be 1 or more."),
    Mistake(
        "benchmark.py scaling --devices 0", 2,
        "Error: --devices must be one number or more, each of them 1 or more.",
    ),
    Mistake(
        "benchmark.py scaling --vocabulary-size 0", 2,
        "Error: --vocabulary-size is 0, but must be 1 or more.",
    ),
    Mistake(
        "benchmark.py scaling --devices 1 2 --processes 3", 2,
        "Error: --processes 3: none of --devices 1 2 can be shared equally by so many; add a "
        "multiple of 3.",
    ),
    Mistake(
        "benchmark.py scaling --weak --batch-size 40000", 2,
        "Error: --batch-size 80000: the tokens give 57,077 windows of 100; give a smaller one, or "
        "more tokens.",
    ),
]  # fmt: skip
