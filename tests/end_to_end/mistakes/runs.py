"""Runs that are damaged, half there, or of something else."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import ANEW, CONFIG, GENERATE, GO_ON, Mistake

RUNS = [
    Mistake("generate.py none", 1, "none run config.json"),
    Mistake("generate.py bad/a.mid", 1, "bad/a.mid run config.json"),
    Mistake(
        GENERATE, 1, "run songs-run checkpoint",
        a.without_checkpoints("songs-run", folder_too=True),
    ),
    Mistake(
        GENERATE, 1, "run songs-run checkpoint",
        a.without_checkpoints("songs-run", folder_too=False),
    ),
    Mistake(
        GENERATE, 1, "1 damaged setting", a.every_file("songs-run/checkpoints/1/state", b"damaged"),
    ),
    Mistake(
        GO_ON, 1, "1 damaged setting", a.every_file("songs-run/checkpoints/1/state", b"damaged"),
    ),
    Mistake(
        GENERATE, 1, "damaged float32(8,) float32(9,)",
        a.several(a.fields(CONFIG, model__hidden_size=9), a.run_forged("songs-run")),
    ),
    Mistake(
        GENERATE, 1, "checkpoint 1 damaged another run",
        a.fields("songs-run/corpus.json", run="another"),
    ),
    Mistake(
        GENERATE, 1, "songs-run/checkpoints/1/seal.json Permission",
        a.refused(
            "jaxmusic.run_dir.checkpoint_dir.verify_manifest", "songs-run/checkpoints/1/seal.json"
        ),
    ),
    Mistake(
        GENERATE, 1, "songs-run/checkpoints/1/state memory",
        a.patched("orbax.checkpoint.Checkpointer.restore", a.raising(MemoryError())),
    ),
    Mistake(
        f"{GO_ON} --max-steps 2", 1, "songs-run/metrics.jsonl directory",
        a.as_folder("songs-run/metrics.jsonl"),
    ),
    Mistake(f"{GO_ON} --seed 1 --hidden-size 9", 2, "songs-run setting hidden_size seed"),
    Mistake(GO_ON.replace("songs-corpus", "long-corpus"), 1, "songs-run run corpus 120 token"),
    Mistake(GO_ON, 1, "training --run-dir songs-run process", a.held("songs-run")),
    Mistake(
        GO_ON, 1, "run songs-run damaged vocabulary.json token corpus",
        a.several(
            a.replaced("songs-run/vocabulary.json", '"C4"', '"C#4"'),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(
        GO_ON, 1,
        "run songs-run damaged config.json missing checkpoints/ environment.json metrics.jsonl",
        a.removed(CONFIG),
    ),
    Mistake(
        ANEW.replace("--run-dir new", "--run-dir long-corpus"), 1,
        "run --run-dir long-corpus corpus",
    ),
    Mistake(ANEW.replace("--run-dir new", "--run-dir short"), 1, "run --run-dir short a.mid"),
    Mistake(
        GENERATE, 1, "run songs-run damaged corpus.json missing",
        a.removed("songs-run/corpus.json"),
    ),
    Mistake(
        GENERATE, 1, "run songs-run damaged primes.npy directory",
        a.as_folder("songs-run/primes.npy"),
    ),
    Mistake(
        GENERATE, 1, "run songs-run damaged vocabulary.json directory",
        a.as_folder("songs-run/vocabulary.json"),
    ),
    Mistake(
        GENERATE, 1, "run songs-run damaged corpus.json field digest",
        a.fields("songs-run/corpus.json", without="digest"),
    ),
    Mistake(
        GENERATE, 1, "run songs-run damaged primes.npy",
        a.array("songs-run/primes.npy", lambda primes: primes[::-1]),
    ),
    Mistake(
        GENERATE, 1, "run songs-run damaged vocabulary.json C4x pitch chord",
        a.several(
            a.replaced("songs-run/vocabulary.json", '"C4"', '"C4x"'),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(
        GENERATE, 1, "run songs-run damaged vocabulary.json scheme timed",
        a.several(
            a.known_scheme("timed"),
            a.fields("songs-run/vocabulary.json", scheme="timed"),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(
        GENERATE, 1, "run songs-run damaged primes.npy shape 112 7 8",
        a.several(
            a.array("songs-run/primes.npy", lambda primes: primes[:, 1:]),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(
        GENERATE, 1, "run songs-run damaged primes.npy token vocabulary 11",
        a.several(
            a.array("songs-run/primes.npy", lambda primes: primes + 9),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(GENERATE, 1, "songs-run/config.json setting", a.written(CONFIG, "{")),
    Mistake(GENERATE, 1, "songs-run/config.json setting directory", a.as_folder(CONFIG)),
    Mistake(GENERATE, 1, "songs-run/config.json setting format", a.written(CONFIG, "{}")),
    Mistake(GENERATE, 1, "songs-run/config.json newer format 9 1", a.fields(CONFIG, format=9)),
    Mistake(GENERATE, 1, "songs-run/config.json older format 0 1", a.fields(CONFIG, format=0)),
    Mistake(GENERATE, 1, "songs-run/config.json part voices", a.fields(CONFIG, voices=4)),
    Mistake(GENERATE, 1, "songs-run/config.json part data", a.fields(CONFIG, without="data")),
    Mistake(GENERATE, 1, "songs-run/config.json field heads", a.fields(CONFIG, model__heads=4)),
    Mistake(
        GENERATE, 1, "songs-run/config.json field model.layers int",
        a.fields(CONFIG, model__layers="1"),
    ),
    Mistake(GENERATE, 1, "songs-run/config.json --layers 0 1", a.fields(CONFIG, model__layers=0)),
    Mistake(GENERATE, 1, "--layers 100000 128", a.fields(CONFIG, model__layers=100_000)),
    Mistake(
        GENERATE, 1, "songs-run/config.json digest",
        a.fields(CONFIG, model__objective="every"),
    ),
    Mistake(GO_ON, 1, "songs-run/config.json digest", a.fields(CONFIG, train__epochs=3)),
    *(
        Mistake(GENERATE, 1, f"{name} pipe", a.as_pipe(f"songs-run/{name}"))
        for name in ("corpus.json", "vocabulary.json", "primes.npy")
    ),
    Mistake(GENERATE, 1, "songs-run/config.json pipe", a.as_pipe(CONFIG)),
    Mistake(
        f"{GO_ON} --max-steps 2", 1, "songs-run/metrics.jsonl pipe file",
        a.as_pipe("songs-run/metrics.jsonl"),
    ),
]  # fmt: skip
