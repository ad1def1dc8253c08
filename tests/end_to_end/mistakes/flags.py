"""Flags of the three main scripts that are wrong in themselves."""

from end_to_end.mistakes.mistake import GENERATE, Mistake

WRONG_FLAGS = [
    Mistake("train.py fast", 2, "preset fast"),
    Mistake("train.py --epochs x", 2, "--epochs int x"),
    Mistake("train.py --epoch 3", 2, "Unrecognized --epoch"),  # --epochs is suggested
    Mistake("train.py --precision f16", 2, "f32 tf32 bf16"),
    Mistake("train.py --epochs 0", 2, "--epochs 0 1"),
    Mistake("train.py --window 0", 2, "--window 0 1"),
    Mistake("train.py --workers 0", 2, "--workers 0 1"),
    Mistake("train.py --layers 99999999999", 2, "--layers 99999999999 128"),
    Mistake("train.py --held-out 1", 2, "--held-out 1.0 0 1"),
    Mistake("train.py --dropout nan", 2, "--dropout nan 0 1"),
    Mistake("train.py --learning-rate 0", 2, "--learning-rate 0.0 0"),
    Mistake("train.py --checkpoint-minutes -1", 2, "--checkpoint-minutes -1.0"),
    Mistake("train.py --skip-bad-steps -1", 2, "--skip-bad-steps -1 0"),
    Mistake("train.py --device-corpus-mib -1", 2, "--device-corpus-mib -1.0 0"),
    Mistake("train.py --seed -1", 2, "--seed -1 0 1"),
    Mistake("train.py --transpose 5", 2, "--transpose 5 LOW..HIGH"),
    Mistake("train.py --transpose 3..x", 2, "--transpose 3..x LOW..HIGH"),
    Mistake("train.py --max-skipped-share 2", 2, "--max-skipped-share 2.0 0"),
    Mistake("train.py --devices 99", 2, "--devices 99"),
    Mistake("train.py --coordinator host:1", 2, "--coordinator --num-processes --process-id"),
    Mistake(
        "train.py --coordinator host --num-processes 2 --process-id 0", 2,
        "--coordinator host HOST:PORT",
    ),
    Mistake(
        "train.py --coordinator h:1 --num-processes 2 --process-id 2", 2,
        "--process-id 2 0 1 --num-processes",
    ),
    Mistake("prepare.py", 2, "MIDI_DIR missing"),
    Mistake("prepare.py short", 2, "--corpus missing"),
    Mistake("prepare.py short --corpus c --workers 0", 2, "--workers 0 1"),
    Mistake(
        "prepare.py short --corpus c --max-skipped-share -1", 2, "--max-skipped-share -1.0 0 1",
    ),
    Mistake("prepare.py short --corpus c --window 0", 2, "--window 0 1"),
    Mistake("prepare.py short --show c", 2, "--show --check folder MIDI_DIR --notes --corpus"),
    Mistake("prepare.py --notes n --check c", 2, "--show --check folder MIDI_DIR --notes --corpus"),
    Mistake("prepare.py --notes n", 2, "--corpus missing"),
    Mistake("prepare.py short --notes n --corpus c", 2, "--notes FILE --corpus MIDI_DIR --workers"),
    Mistake("generate.py", 2, "folder required required"),
    Mistake("generate.py none --temperature 0", 2, "--temperature 0.0 0"),
    Mistake("generate.py none --top-k 0", 2, "--top-k 0 1"),
    Mistake("generate.py none --top-p 1.5", 2, "--top-p 1.5 0 1"),
    Mistake("generate.py none --tempo 0", 2, "--tempo 0.0 4 1000"),
    Mistake(f"{GENERATE} --length 0", 2, "--length 0 1"),
    Mistake(f"{GENERATE} --length 2147483648", 2, "2147483648 2**31"),
    Mistake(f"{GENERATE} --count 0", 2, "--count 0 1"),
    Mistake(f"{GENERATE} --seed -1", 2, "--seed -1 0 1"),
]  # fmt: skip
