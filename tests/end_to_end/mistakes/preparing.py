"""Folders of MIDI files, and files of notes, that no corpus is made of."""

import resource
from pathlib import Path

import helpers.arrangements as a
from end_to_end.mistakes.mistake import ANEW, SHOW, Mistake


def few_files(limit: int) -> tuple[int, int]:
    """Limits of a system that allows 16 open files, and any memory."""
    allowed = 16 if limit == resource.RLIMIT_NOFILE else resource.RLIM_INFINITY
    return allowed, allowed


FOLDERS = [
    Mistake("train.py --midi-dir none", 1, "folder none"),
    Mistake("train.py --midi-dir bad/a.mid", 1, "bad/a.mid file"),
    Mistake("train.py --midi-dir empty", 1, "file empty"),
    Mistake("train.py --midi-dir bad", 1, "bad token a.mid MThd"),
    Mistake("train.py --midi-dir short", 1, "window --window 100 101 token"),
    Mistake("train.py --midi-dir short --no-across-songs", 1, "window --window 100 101 token 50"),
    Mistake("train.py --midi-dir short --held-out 0.5", 1, "--held-out song"),
    Mistake(
        "train.py --midi-dir uneven --held-out 0.4 --window 8 --seed 1", 1,
        "--held-out 1 song short --window 8",
    ),
    Mistake("train.py --corpus short", 1, "short corpus"),
    Mistake("train.py --corpus none", 1, "none corpus"),
    Mistake(f"{ANEW}/x", 1, "--run-dir new/x", a.written("new", "")),
    Mistake(ANEW, 1, "--run-dir new", a.written("new", "")),
    Mistake("train.py --midi-dir long", 1, ".lock directory", a.written("corpora", "")),
    Mistake(f"{ANEW} --deduplicate", 2, "--deduplicate preparing corpus songs-corpus"),
    Mistake(
        "train.py --midi-dir songs --max-skipped-share 0.1", 1,
        "1 3 file song skipped --max-skipped-share 0.1", a.copied("bad/a.mid", "songs/bad.mid"),
    ),
    Mistake("prepare.py none --corpus c", 1, "folder none"),
    Mistake("prepare.py short --corpus bad", 1, "bad corpus a.mid"),
    Mistake("prepare.py short --corpus songs-run", 1, "songs-run run corpus"),
    Mistake(
        "prepare.py songs --corpus songs-corpus", 1, "songs-corpus corpus a.txt",
        a.written("songs-corpus/a.txt", "precious"),
    ),
    Mistake("prepare.py short --corpus c", 1, ".c.lock lock", a.copied("bad/a.mid", ".c.lock")),
    Mistake("train.py --corpus songs-run", 1, "songs-run run corpus"),
    Mistake("prepare.py short --corpus bad/a.mid", 1, "bad/a.mid file"),
    Mistake("prepare.py short --corpus bad/a.mid/c", 1, "bad/a.mid/.c.lock directory"),
    Mistake("prepare.py short --corpus of-notes", 1, "of-notes corpus notes --notes file"),
    Mistake("prepare.py --show short", 1, "short corpus"),
    Mistake("prepare.py --show bad/a.mid", 1, "bad/a.mid corpus"),
    Mistake("prepare.py --check none", 1, "none corpus"),
    Mistake(SHOW, 1, "16 open files 32 ulimit", a.patched("resource.getrlimit", few_files)),
    Mistake("prepare.py closed --corpus c", 1, "folder closed Permission", a.closed("closed")),
]  # fmt: skip

NOTES = [
    Mistake("prepare.py --notes none --corpus c", 1, "--notes none file"),
    Mistake("prepare.py --piano-rolls none --corpus c", 1, "--piano-rolls none file MATLAB"),
    Mistake("prepare.py --piano-rolls bad/a.mid --corpus c", 1, "--piano-rolls bad/a.mid MATLAB"),
    Mistake("prepare.py --notes bad --corpus c", 1, "--notes bad folder"),
    Mistake(
        "prepare.py --notes bad/a.mid --corpus c", 1,
        "--notes bad/a.mid opcode REDUCE run code list",
    ),
    Mistake("prepare.py --notes n --corpus c", 1, "--notes n empty list", a.pickled("n", [])),
    Mistake(
        "prepare.py --notes n --corpus c", 1, "--notes n H9 token 1 pitch E5 B-4 chord 4.9",
        a.pickled("n", ["C4", "H9"]),
    ),
    Mistake("prepare.py --notes n --corpus c", 1, "run code list", a.pickled("n", Path())),
    Mistake(
        "prepare.py --notes n --corpus c", 1, "--notes n 67,108,865 67,108,864",
        a.sparse("n", (64 << 20) + 1),
    ),
    Mistake(
        "prepare.py --notes notes --corpus songs-corpus", 1,
        "songs-corpus corpus file notes --notes",
    ),
]  # fmt: skip
