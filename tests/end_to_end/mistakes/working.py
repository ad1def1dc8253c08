"""What goes wrong in training and in making music."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import ABOUT, ANEW, EVALUATE, GENERATE, GO_ON, Mistake

NO_GPU = a.several(
    a.patched("jax.devices", a.raising(AssertionError())),
    a.patched("jaxmusic.distributed.devices.requested_platforms", lambda: "cuda"),
)

TRAINING = [
    Mistake(f"{ANEW}-\udcff", 1, "checkpoint folder UTF-8"),
    Mistake(f"{ANEW} --run-dir gs://bucket/x", 2, "gs://bucket/x address file folder"),
    Mistake(f"{ANEW} --run-dir=~nobody-here/x", 2, "~nobody-here/x home folder"),
    Mistake(ANEW, 2, "platform JAX_PLATFORMS=cuda", NO_GPU),
    Mistake(GO_ON, 1, "songs-run/checkpoints link", a.linked("songs-run/checkpoints", "elsewhere")),
    Mistake(f"{ANEW} --min-count 1000", 2, "--min-count 1000 token"),
    Mistake(f"{ANEW} --max-steps 4 --learning-rate 1e38", 1, "--learning-rate checkpoint"),
    Mistake(f"{ANEW} --max-steps 4 --learning-rate 1e38 --skip-bad-steps 99", 1, "4 step skipped"),
    Mistake(f"{ANEW} --max-steps None --epochs 2147483647", 2, "--epochs 2147483647"),
    Mistake(
        f"{ANEW} --recurrence cpu", 1, "--recurrence cpu compiler",
        a.patched(
            "jaxmusic.nn.cpu.recurrence.why_unavailable", lambda: "no C++ compiler is installed"
        ),
    ),
    Mistake(
        f"{ANEW} --recurrence pallas --hidden-size 1024", 1, "--recurrence pallas 1024 f32 VMEM",
    ),
]  # fmt: skip

GENERATING = [
    Mistake(f"{GENERATE} --out ''", 2, "empty file folder"),
    Mistake(GENERATE, 2, "platform JAX_PLATFORMS=c", NO_GPU),
    Mistake(f"{GENERATE} --prime bad/a.mid", 1, "--prime bad/a.mid file MThd"),
    Mistake(f"{GENERATE} --prime none.mid", 1, "--prime none.mid file directory"),
    Mistake(f"{GENERATE} --prime bad", 1, "--prime bad directory"),
    Mistake(f"{GENERATE} --prime deep.mid", 1, "2 token run C1 D1"),
    Mistake(f"{GENERATE} --prime brief.mid", 1, "prime 3 token run 8"),
    Mistake(f"{GENERATE} --length 4 --out bad/a.mid/x.mid", 1, "bad/a.mid/x.mid"),
    Mistake(f"{GENERATE} --length 4 --out empty", 2, "--out empty folder"),
    Mistake(
        f"{GENERATE} --length 4 --out link.mid", 2, "--out link.mid link nowhere.mid",
        a.linked("link.mid", "nowhere.mid"),
    ),
    Mistake(f"{GENERATE} --length 4 --count 2 --out /dev/null", 2, "--out /dev/null regular file"),
    Mistake(
        f"{GENERATE} --length 4 --count 2 --out x.mid", 1, "x-1.mid folder", a.as_folder("x-1.mid"),
    ),
    Mistake(
        f"{GENERATE} --length 4", 1, "songs-run/samples link",
        a.several(a.as_folder("songs-run/samples"), a.linked("songs-run/samples", "elsewhere")),
    ),
    Mistake(
        f"{GENERATE} --length 4", 1, "songs-run/samples/seed-0.mid link",
        a.several(
            a.as_folder("songs-run/samples"), a.linked("songs-run/samples/seed-0.mid", "brief.mid")
        ),
    ),
    Mistake(
        f"{GENERATE} --length 4", 1, "songs-run/samples/seed-0.mid",
        a.written("songs-run/samples", ""),
    ),
]  # fmt: skip

EVALUATING = [
    Mistake(f"{EVALUATE} --songs 0", 2, "--songs 0 1"),
    Mistake(f"{EVALUATE} --corpus songs-corpus --midi-dir songs", 2, "--corpus --midi-dir one"),
    Mistake(f"{EVALUATE} --json empty", 2, "--json empty folder"),
    Mistake(f"{EVALUATE} --length 0", 2, "--length 0"),
    Mistake(
        EVALUATE, 1, "corpus songs-run gone --corpus --midi-dir",
        a.fields("songs-run/corpus.json", path="gone"),
    ),
    Mistake(
        f"{EVALUATE} --corpus songs-corpus", 1, "songs-corpus scheme timed songs-run classic",
        a.several(
            a.known_scheme("timed"),
            a.fields("songs-corpus/vocabulary.json", scheme="timed"),
            a.fields(ABOUT, scheme="timed"),
            a.forged("songs-corpus"),
        ),
    ),
]  # fmt: skip
