"""Runs that are damaged, half there, or of something else."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import ANEW, CONFIG, GENERATE, GO_ON, RUN, Mistake

RUNS = [
    Mistake(
        "generate.py none", 1,
        "Error: none holds no run (no config.json): give the folder that train.py named.",
    ),
    Mistake(
        "generate.py bad/a.mid", 1,
        "Error: bad/a.mid holds no run (no config.json): give the folder that train.py named.",
    ),
    Mistake(
        GENERATE, 1, "Error: The run songs-run has no checkpoint yet: train it further.",
        a.without_checkpoints("songs-run", folder_too=True),
    ),
    Mistake(
        GENERATE, 1, "Error: The run songs-run has no checkpoint yet: train it further.",
        a.without_checkpoints("songs-run", folder_too=False),
    ),
    Mistake(
        GENERATE, 1, "(steps 1) are damaged, or of other settings: move the folder away to start",
        a.every_file("songs-run/checkpoints/1/state", b"damaged"),
    ),
    Mistake(
        GO_ON, 1, "(steps 1) are damaged, or of other settings: move the folder away to start",
        a.every_file("songs-run/checkpoints/1/state", b"damaged"),
    ),
    Mistake(
        GENERATE, 1,
        "is damaged, passed over: ['batch_stats']['norm_lstm']['mean'] is float32(8,), not "
        "float32(9,)",
        a.several(a.told(CONFIG, model__hidden_size=9), a.run_forged("songs-run")),
    ),
    Mistake(
        GENERATE, 1, "The checkpoint of step 1 is damaged, passed over: it is another run's",
        a.told("songs-run/corpus.json", run="another"),
    ),
    Mistake(
        GENERATE, 1, "songs-run/checkpoints/1/seal.json can't be read: Permission denied.",
        a.refused("jaxmusic.run_dir.checkpoint_dir.read_seal", "songs-run/checkpoints/1/seal.json"),
    ),
    Mistake(
        GENERATE, 1, "songs-run/checkpoints/1/state can't be read: out of memory.",
        a.patched("orbax.checkpoint.Checkpointer.restore", a.raising(MemoryError())),
    ),
    Mistake(
        f"{GO_ON} --max-steps 2", 1,
        "Error: songs-run/metrics.jsonl can't be used: Is a directory. Give another path, or move "
        "away",
        a.as_folder("songs-run/metrics.jsonl"),
    ),
    Mistake(
        f"{GO_ON} --seed 1 --hidden-size 9", 2,
        "Error: songs-run holds a run with other settings (hidden_size, seed): start the command "
        "with the same ones, or give another --run-dir.",
    ),
    Mistake(
        GO_ON.replace("songs-corpus", "long-corpus"), 1,
        "Error: songs-run holds a run on another corpus (120 tokens, from ",
    ),
    Mistake(
        GO_ON, 1,
        "Error: Another training is at work in --run-dir songs-run (process ",
        a.held("songs-run"),
    ),
    Mistake(
        GO_ON, 1, f"{RUN}vocabulary.json has other tokens than its corpus.",
        a.several(
            a.replaced("songs-run/vocabulary.json", '"C4"', '"C#4"'),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(
        GO_ON, 1,
        f"{RUN}config.json is missing (half-copied?), and it holds checkpoints/, environment.json, "
        "metrics.jsonl.",
        a.removed(CONFIG),
    ),
    Mistake(
        ANEW.replace("--run-dir new", "--run-dir long-corpus"), 1,
        "Error: A run can't begin in --run-dir long-corpus: it holds a corpus. Give another "
        "folder, one that is empty or not there.",
    ),
    Mistake(
        ANEW.replace("--run-dir new", "--run-dir short"), 1,
        "Error: A run can't begin in --run-dir short: it holds a.mid. Give another folder, one",
    ),
    Mistake(
        GENERATE, 1, f"{RUN}corpus.json is missing (half-copied?).",
        a.removed("songs-run/corpus.json"),
    ),
    Mistake(GENERATE, 1, f"{RUN}primes.npy: Is a directory.", a.as_folder("songs-run/primes.npy")),
    Mistake(
        GENERATE, 1, f"{RUN}vocabulary.json: Is a directory.",
        a.as_folder("songs-run/vocabulary.json"),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}corpus.json: it lacks the field 'digest'.",
        a.told("songs-run/corpus.json", without="digest"),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}primes.npy is not the one that the run began with.",
        a.array("songs-run/primes.npy", lambda primes: primes[::-1]),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}vocabulary.json: 'C4x' is neither a pitch nor a chord in normal order.",
        a.several(
            a.replaced("songs-run/vocabulary.json", '"C4"', '"C4x"'),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}vocabulary.json is of the scheme 'timed'.",
        a.several(
            a.patched("jaxmusic.tokenizers.tokens.SCHEMES", ("classic", "timed")),
            a.told("songs-run/vocabulary.json", scheme="timed"),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}primes.npy has the shape (112, 7), not (any, 8).",
        a.several(
            a.array("songs-run/primes.npy", lambda primes: primes[:, 1:]),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}primes.npy has tokens beyond a vocabulary of 11.",
        a.several(
            a.array("songs-run/primes.npy", lambda primes: primes + 9),
            a.run_forged("songs-run"),
        ),
    ),
    Mistake(GENERATE, 1, f"Error: {CONFIG} can't be read as a run's", a.written(CONFIG, "{")),
    Mistake(
        GENERATE, 1, f"Error: {CONFIG} can't be read as a run's settings: Is a directory.",
        a.as_folder(CONFIG),
    ),
    Mistake(
        GENERATE, 1, f"Error: {CONFIG} holds no run's settings: it tells no format.",
        a.written(CONFIG, "{}"),
    ),
    Mistake(
        GENERATE, 1,
        f"Error: {CONFIG} was written by a newer version of jaxmusic (format 9; this one reads "
        "1): update jaxmusic.",
        a.told(CONFIG, format=9),
    ),
    Mistake(
        GENERATE, 1, "by an older version of jaxmusic (format 0; this one reads 1): train anew, in",
        a.told(CONFIG, format=0),
    ),
    Mistake(
        GENERATE, 1,
        f"Error: {CONFIG} has parts that this version doesn't know: 'voices'. Update jaxmusic.",
        a.told(CONFIG, voices=4),
    ),
    Mistake(
        GENERATE, 1, f"Error: {CONFIG} can't be used: it has no part 'data'.",
        a.told(CONFIG, without="data"),
    ),
    Mistake(
        GENERATE, 1,
        f"Error: {CONFIG} has fields that this version doesn't know: 'heads'. Update jaxmusic.",
        a.told(CONFIG, model__heads=4),
    ),
    Mistake(
        GENERATE, 1,
        f"Error: {CONFIG} can't be used: the field 'model.layers': expected `int`, got `str`.",
        a.told(CONFIG, model__layers="1"),
    ),
    Mistake(
        GENERATE, 1, f"Error: {CONFIG} can't be used: --layers is 0, but must be 1 or more.",
        a.told(CONFIG, model__layers=0),
    ),
    Mistake(
        GENERATE, 1, "can't be used: --layers is 100000, but must be at most 128.",
        a.told(CONFIG, model__layers=100_000),
    ),
    Mistake(
        GENERATE, 1,
        f"Error: {CONFIG} is not what was written: its digest differs. Settings that may change",
        a.told(CONFIG, model__objective="every"),
    ),
    Mistake(
        GO_ON, 1, f"Error: {CONFIG} is not what was written: its digest differs.",
        a.told(CONFIG, train__epochs=3),
    ),
    *(
        Mistake(GENERATE, 1, "it is a pipe, where a file is", a.as_pipe(f"songs-run/{name}"))
        for name in ("corpus.json", "vocabulary.json", "primes.npy")
    ),
    Mistake(
        GENERATE, 1, "can't be read as a run's settings: it is a pipe, where", a.as_pipe(CONFIG)
    ),
    Mistake(
        f"{GO_ON} --max-steps 2", 1,
        "Error: songs-run/metrics.jsonl can't be gone on with: it is a pipe, where a file is "
        "expected. Move it away",
        a.as_pipe("songs-run/metrics.jsonl"),
    ),
]  # fmt: skip
