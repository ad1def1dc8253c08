"""Names, and words in files, that would send control sequences to a terminal or fake a line."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import CONFIG, GENERATE, GO_ON, SHOW, Mistake

NAME = "x\x1b[2J\x9b1m\nError: y\u202e"
TOLD = r"x\x1b[2J\x9b1m\nError: y\u202e"
LEDGER = "songs-corpus/ledger.jsonl"
ESCAPED = r"x\u001b[2J\u009b1m\nError: y\u202e"  # as JSON writes it

HOSTILE = [
    Mistake(f"prepare.py '{NAME}' --corpus new", 1, f"folder {TOLD}"),
    Mistake(f"prepare.py --show '{NAME}'", 1, f"{TOLD} corpus"),
    Mistake(f"prepare.py --check '{NAME}'", 1, f"{TOLD} corpus"),
    Mistake(f"prepare.py --{NAME.split(maxsplit=1)[0]}", 2, "x"),
    Mistake(f"generate.py '{NAME}'", 1, f"{TOLD} run config.json"),
    Mistake(
        f"generate.py songs-run --prime '{NAME}'", 1, f"--prime {TOLD}",
    ),
    Mistake(f"train.py '{NAME}'", 2, f"preset {TOLD}"),
    Mistake(
        GENERATE, 1, f"--transpose {TOLD}",
        a.fields(CONFIG, data__transpose=NAME),
    ),
    Mistake(
        GO_ON.replace("songs-corpus", "long-corpus"), 1, f"token {TOLD}",
        a.fields("songs-run/corpus.json", path=NAME),
    ),
    Mistake(
        GENERATE, 1, TOLD,
        a.written(f"songs-run/checkpoints/1/{NAME}", ""),
    ),
    Mistake(
        SHOW, 0, f"1.mid {TOLD}",
        a.several(a.replaced(LEDGER, "1.mid", f"1.mid {ESCAPED}"), a.forged("songs-corpus")),
    ),
    Mistake(
        "prepare.py songs --corpus new", 0, f"skipped {TOLD}.mid",
        a.written(f"songs/{NAME}.mid", "no music"),
    ),
]  # fmt: skip
