"""Flags of the three main scripts that are wrong in themselves."""

from end_to_end.mistakes.mistake import GENERATE, Mistake

WRONG_FLAGS = [
    Mistake(
        "train.py fast", 2,
        "Error: There is no preset fast: give one of classic, classic-64, quick.",
    ),
    Mistake("train.py --epochs x", 2, "--epochs: invalid literal for int() with base 10: 'x'"),
    Mistake("train.py --epoch 3", 2, "Unrecognized options: --epoch,"),  # --epochs is suggested
    Mistake("train.py --precision f16", 2, "Expected one of ('f32', 'tf32', 'bf16')."),
    Mistake("train.py --epochs 0", 2, "Error: --epochs is 0, but must be 1 or more."),
    Mistake("train.py --window 0", 2, "Error: --window is 0, but must be 1 or more."),
    Mistake("train.py --workers 0", 2, "Error: --workers is 0, but must be 1 or more."),
    Mistake("train.py --layers 99999999999", 2, "99999999999, but must be at most 128."),
    Mistake("train.py --held-out 1", 2, "Error: --held-out is 1.0, but must be from 0 to below 1."),
    Mistake("train.py --dropout nan", 2, "Error: --dropout is nan, but must be from 0 to below 1."),
    Mistake(
        "train.py --learning-rate 0", 2, "--learning-rate is 0.0, but must be above 0 and finite.",
    ),
    Mistake("train.py --checkpoint-minutes -1", 2, "--checkpoint-minutes is -1.0, but must be"),
    Mistake("train.py --skip-bad-steps -1", 2, "--skip-bad-steps is -1, but must be 0 or more."),
    Mistake("train.py --device-corpus-mib -1", 2, "--device-corpus-mib is -1.0, but must be 0 or"),
    Mistake("train.py --seed -1", 2, "Error: --seed is -1, but must be from 0 to 2**32 - 1."),
    Mistake(
        "train.py --transpose 5", 2,
        "Error: --transpose is 5, but must be LOW..HIGH, whole numbers of semitones from -24 to "
        "24, such as -5..6.",
    ),
    Mistake(
        "train.py --transpose 3..x", 2,
        "Error: --transpose is 3..x, but must be LOW..HIGH, whole numbers of semitones from -24 "
        "to 24, such as -5..6.",
    ),
    Mistake("train.py --max-skipped-share 2", 2, "--max-skipped-share is 2.0, but must be from 0"),
    Mistake("train.py --devices 99", 2, "Error: --devices 99: there are "),
    Mistake("train.py --coordinator host:1", 2, "and --process-id I belong together: give all"),
    Mistake(
        "train.py --coordinator host --num-processes 2 --process-id 0", 2,
        "Error: --coordinator host is not of the form HOST:PORT.",
    ),
    Mistake(
        "train.py --coordinator h:1 --num-processes 2 --process-id 2", 2,
        "Error: --process-id 2 must be from 0 to 1 (--num-processes 2), another one on each host.",
    ),
    Mistake(
        "prepare.py", 2,
        "Error: MIDI_DIR is missing: give MIDI_DIR and --corpus DIR, or --notes FILE and --corpus "
        "DIR, or --show DIR, or --check DIR.",
    ),
    Mistake(
        "prepare.py short", 2,
        "Error: --corpus is missing: give MIDI_DIR and --corpus DIR, or --notes FILE and --corpus "
        "DIR, or --show DIR, or --check DIR.",
    ),
    Mistake(
        "prepare.py short --corpus c --workers 0", 2,
        "Error: --workers is 0, but must be 1 or more.",
    ),
    Mistake(
        "prepare.py short --corpus c --max-skipped-share -1", 2,
        "Error: --max-skipped-share is -1.0, but must be from 0 to 1.",
    ),
    Mistake(
        "prepare.py short --corpus c --window 0", 2, "Error: --window is 0, but must be 1 or more.",
    ),
    Mistake(
        "prepare.py short --show c", 2,
        "Error: --show and --check take a corpus's folder, and no MIDI_DIR, --notes or --corpus.",
    ),
    Mistake(
        "prepare.py --notes n --check c", 2,
        "Error: --show and --check take a corpus's folder, and no MIDI_DIR, --notes or --corpus.",
    ),
    Mistake(
        "prepare.py --notes n", 2,
        "Error: --corpus is missing: give --notes FILE and --corpus DIR.",
    ),
    Mistake(
        "prepare.py short --notes n --corpus c", 2,
        "Error: --notes FILE takes --corpus DIR, and no MIDI_DIR, --workers, --verify.",
    ),
    Mistake(
        "generate.py", 2, "The run's folder, as train.py named it, or a copy of it. (required)",
    ),
    Mistake(
        "generate.py none --temperature 0", 2,
        "Error: --temperature is 0.0, but must be above 0 and finite.",
    ),
    Mistake("generate.py none --top-k 0", 2, "Error: --top-k is 0, but must be 1 or more."),
    Mistake(
        "generate.py none --top-p 1.5", 2,
        "Error: --top-p is 1.5, but must be above 0 and at most 1.",
    ),
    Mistake("generate.py none --tempo 0", 2, "Error: --tempo is 0.0, but must be from 4 to 1000."),
    Mistake(f"{GENERATE} --length 0", 2, "Error: --length is 0, but must be 1 or more."),
    Mistake(f"{GENERATE} --length 2147483648", 2, "2147483648, but must be below 2**31."),
    Mistake(f"{GENERATE} --count 0", 2, "Error: --count is 0, but must be 1 or more."),
    Mistake(f"{GENERATE} --seed -1", 2, "Error: --seed is -1, but must be from 0 to 2**32 - 1."),
]  # fmt: skip
