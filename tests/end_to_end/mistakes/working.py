"""What goes wrong in training and in making music."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import ANEW, GENERATE, GO_ON, Mistake

NO_GPU = a.several(
    a.patched("jax.devices", a.raising(AssertionError())),
    a.patched("jaxmusic.distributed.devices.platforms_asked_for", lambda: "cuda"),
)

TRAINING = [
    Mistake(
        f"{ANEW}-\udcff", 1, "Error: new-\\udcff can't hold checkpoints, since its path (or that "
        "of the folder where the command was started) is not UTF-8: rename the folder, or use ano",
    ),
    Mistake(
        f"{ANEW} --run-dir gs://bucket/x", 2, "Error: gs://bucket/x is an address, and only files "
        "and folders of this machine can be used: mount it as a folder, and give that.",
    ),
    Mistake(
        f"{ANEW} --run-dir=~nobody-here/x", 2,
        "Error: ~nobody-here/x: this home folder isn't known: give the path in full (or ./~nobody-",
    ),
    Mistake(
        ANEW, 2, "Error: JAX can't use the platforms asked for, JAX_PLATFORMS=cuda: no such device "
        "is here, or JAX was installed without support for it. Unset it to", NO_GPU,
    ),
    Mistake(
        GO_ON, 1, "Error: songs-run/checkpoints is a link, and nothing is written through links",
        a.linked("songs-run/checkpoints", "elsewhere"),
    ),
    Mistake(
        f"{ANEW} --min-count 1000", 2, "Error: --min-count 1000 leaves no token to learn: the most "
        "frequent one, ",
    ),
    Mistake(
        f"{ANEW} --max-steps 4 --learning-rate 1e38", 1,
        "The checkpoints before it are kept; start another run with a smaller --learning-rate, or",
    ),
    Mistake(
        f"{ANEW} --max-steps 4 --learning-rate 1e38 --skip-bad-steps 99", 1, "Error: All 4 steps "
        "were skipped, as their loss or gradient is no number: the run has learned nothing. Start",
    ),
    Mistake(
        f"{ANEW} --max-steps None --epochs 2147483647", 2, "Error: --epochs 2147483647 of ",
    ),
    Mistake(
        f"{ANEW} --recurrence cpu", 1,
        "Error: --recurrence cpu: no C++ compiler is installed; use auto or scan.",
        a.patched("jaxmusic.nn.lstm.why_unavailable", lambda: "no C++ compiler is installed"),
    ),
    Mistake(
        f"{ANEW} --recurrence pallas --hidden-size 1024", 1,
        "Error: --recurrence pallas: the weights of 1024 units in f32 don't fit into a TPU's "
        "VMEM; use --recurrence scan.",
    ),
]  # fmt: skip

GENERATING = [
    Mistake(f"{GENERATE} --out ''", 2, "Error: A path is empty: name a file or folder."),
    Mistake(GENERATE, 2, "Error: JAX can't use the platforms asked for, JAX_PLATFORMS=c", NO_GPU),
    Mistake(
        f"{GENERATE} --prime bad/a.mid", 1,
        "Error: --prime bad/a.mid can't be read: it is not a MIDI file (no MThd at the start). "
        "Give another file.",
    ),
    Mistake(
        f"{GENERATE} --prime none.mid", 1,
        "Error: --prime none.mid can't be read: No such file or directory. Give another file.",
    ),
    Mistake(
        f"{GENERATE} --prime bad", 1,
        "Error: --prime bad can't be read: Is a directory. Give another file.",
    ),
    Mistake(
        f"{GENERATE} --prime deep.mid", 1, "2 tokens that the run has never met (C1, D1): prime",
    ),
    Mistake(
        f"{GENERATE} --prime brief.mid", 1, "The prime has 3 tokens, but this run needs 8: give",
    ),
    Mistake(
        f"{GENERATE} --length 4 --out bad/a.mid/x.mid", 1,
        "Error: bad/a.mid/x.mid can't be written:",
    ),
    Mistake(
        f"{GENERATE} --length 4 --out empty", 2, "Error: --out empty is a folder: give a file.",
    ),
    Mistake(
        f"{GENERATE} --length 4 --out link.mid", 2,
        "Error: --out link.mid is a link to nowhere.mid, which does not exist: give a file.",
        a.linked("link.mid", "nowhere.mid"),
    ),
    Mistake(
        f"{GENERATE} --length 4 --count 2 --out /dev/null", 2,
        "Error: --out /dev/null is no regular file, which takes one piece: give a file.",
    ),
    Mistake(
        f"{GENERATE} --length 4 --count 2 --out x.mid", 1, "Error: x-1.mid is a folder: give a ",
        a.as_folder("x-1.mid"),
    ),
    Mistake(
        f"{GENERATE} --length 4", 1, "Error: songs-run/samples is a link, and nothing is written "
        "through links there: remove it and start the same command again.",
        a.several(a.as_folder("songs-run/samples"), a.linked("songs-run/samples", "elsewhere")),
    ),
    Mistake(
        f"{GENERATE} --length 4", 1, "Error: songs-run/samples/seed-0.mid is a link, and nothing",
        a.several(
            a.as_folder("songs-run/samples"), a.linked("songs-run/samples/seed-0.mid", "brief.mid")
        ),
    ),
    Mistake(
        f"{GENERATE} --length 4", 1, "Error: songs-run/samples/seed-0.mid can't be written:",
        a.written("songs-run/samples", ""),
    ),
]  # fmt: skip
