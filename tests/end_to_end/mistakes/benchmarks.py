"""Benchmarks of the wrong things."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import Mistake

BENCHMARKS = [
    Mistake("benchmark.py", 2, "train"),
    Mistake("benchmark.py train slow", 2, "choice slow"),
    Mistake("benchmark.py train --against numpy", 2, "--against numpy"),
    Mistake("benchmark.py train --rounds 0", 2, "--rounds 0 1"),
    Mistake("benchmark.py train --batch-size 0", 2, "--batch-size 0 1"),
    Mistake("benchmark.py train --window 0", 2, "--window 0 1"),
    Mistake("benchmark.py train --steps-per-dispatch 0", 2, "--steps-per-dispatch 1"),
    Mistake("benchmark.py train --steps-per-dispatch", 2, "--steps-per-dispatch 1"),
    Mistake("benchmark.py train --corpus none", 1, "none corpus"),
    Mistake(
        "benchmark.py train --corpus songs-corpus --batch-size 500", 2,
        "--batch-size 500 token 20 window 100",
    ),
    Mistake("benchmark.py train --json none/x", 2, "--json none/x folder"),
    Mistake("benchmark.py train --json empty", 2, "--json empty folder"),
    Mistake("benchmark.py train --plot none/x.svg", 2, "--plot none/x.svg folder"),
    Mistake("benchmark.py train --plot x.doc", 2, "--plot x.doc .png .svg .pdf"),
    Mistake(
        "benchmark.py train --plot x.svg", 2, "--plot matplotlib", a.not_installed("matplotlib"),
    ),
    Mistake("benchmark.py train --baseline none", 1, "--baseline none JSON file directory"),
    Mistake("benchmark.py train --baseline empty", 1, "--baseline empty JSON directory"),
    Mistake("benchmark.py train --baseline songs-run/config.json", 1, "--baseline config.json"),
    Mistake(
        "benchmark.py train --baseline x", 1, "--baseline x format 9 1",
        a.written("x", '{"format": 9}'),
    ),
    Mistake(
        "benchmark.py train --baseline x", 2, "--baseline x data train",
        a.written(
            "x", '{"format": 1, "kind": "data", "settings": {}, "machine": {}, "measurements": []}'
        ),
    ),
    Mistake("benchmark.py data none", 1, "folder none"),
    Mistake("benchmark.py data songs --copies 0", 2, "--copies 0 1"),
    Mistake("benchmark.py prepare --files 0", 2, "--files 0 1"),
    Mistake("benchmark.py prepare --seed -1", 2, "--seed -1 0"),
    Mistake("benchmark.py prepare --midi-dir none", 1, "folder none"),
    Mistake("benchmark.py prepare --midi-dir bad", 1, "bad notes"),
    Mistake(
        "benchmark.py prepare --midi-dir songs --sets . --files 1", 1, "1-0 a.mid MThd",
        a.several(a.as_folder("1-0"), a.copied("bad/a.mid", "1-0/a.mid")),
    ),
    Mistake(
        "benchmark.py prepare --midi-dir songs --sets . --files 1", 2, "--sets 1-0/more",
        a.several(a.as_folder("1-0"), a.as_folder("1-0/more")),
    ),
    Mistake("benchmark.py generate --against torch", 2, "--against torch"),
    Mistake("benchmark.py train modern --against flax", 2, "--against flax modern batch norm"),
    Mistake("benchmark.py generate --length 0", 2, "--length 0 1"),
    Mistake("benchmark.py generate --pieces 0", 2, "--pieces 1"),
    Mistake("benchmark.py scaling --rounds 0", 2, "--rounds 0 1"),
    Mistake("benchmark.py scaling --devices 0", 2, "--devices 1"),
    Mistake("benchmark.py scaling --vocabulary-size 0", 2, "--vocabulary-size 0 1"),
    Mistake("benchmark.py scaling --devices 1 2 --processes 3", 2, "--processes 3 --devices 1 2"),
    Mistake(
        "benchmark.py scaling --weak --batch-size 40000", 2,
        "--batch-size 80000 token 57,077 window 100",
    ),
]  # fmt: skip
