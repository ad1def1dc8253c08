"""Every error that a user can cause: the command, its exit code, the sentence; and that it's all.

What is left to other tests stands in ELSEWHERE, with the reason.
"""

import ast
import builtins
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import arrangements as a
import pytest
from command_line import SCRIPTS, run_here

from jaxmusic.errors import UserError

ROOT = SCRIPTS.parent


class Mistake(NamedTuple):
    """What a user does, and what he is told."""

    command: str
    code: int  # 2: wrong usage; 1: it failed; 0: a line, and it goes on
    words: str  # or the telling part of them
    arranged: a.Arrange = a.nothing


NET = "--window 8 --hidden-size 8 --layers 1 --dense-size 8 --batch-size 8 --max-steps 1"
GO_ON = f"train.py --corpus songs-corpus {NET} --run-dir songs-run"
ANEW = f"train.py --corpus songs-corpus {NET} --run-dir new"
SHOW, CHECK = "prepare.py --show songs-corpus", "prepare.py --check songs-corpus"
AGAIN = "prepare.py songs --corpus songs-corpus"
GENERATE = "generate.py songs-run"
ABOUT, CONFIG = "songs-corpus/corpus.json", "songs-run/config.json"
CORPUS = "Error: The corpus songs-corpus is damaged: "
RUN = "Error: The run songs-run is damaged: "
HERE = a.patched("tpu_report.libtpu.find_spec", lambda name: name)  # libtpu

WRONG_FLAGS = [
    Mistake(
        "train.py fast", 2,
        "Error: There is no preset fast: give one of classic, classic-64, quick.",
    ),
    Mistake("train.py --epochs x", 2, "--epochs: invalid literal for int() with base 10: 'x'"),
    Mistake("train.py --epoch 3", 2, "Unrecognized options: --epoch,"),  # --epochs is suggested
    Mistake("train.py --precision f16", 2, "Expected one of ('f32', 'bf16')."),
    Mistake("train.py --epochs 0", 2, "Error: --epochs is 0, but must be 1 or more."),
    Mistake("train.py --window 0", 2, "Error: --window is 0, but must be 1 or more."),
    Mistake("train.py --workers 0", 2, "Error: --workers is 0, but must be 1 or more."),
    Mistake("train.py --layers 99999999999", 2, "99999999999, but must be below 2**31."),
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

FOLDERS = [
    Mistake(
        "train.py --midi-dir none", 1,
        "Error: There is no folder none: give a folder of MIDI files.",
    ),
    Mistake(
        "train.py --midi-dir bad/a.mid", 1,
        "Error: bad/a.mid is a file: give a folder of MIDI files.",
    ),
    Mistake(
        "train.py --midi-dir empty", 1,
        "Error: No MIDI files in empty: put .mid, .midi or .kar files there, or give another "
        "folder.",
    ),
    Mistake(
        "train.py --midi-dir bad", 1,
        "Error: None of the 1 MIDI files in bad gives any tokens: 1 can't be read, 0 have no "
        "notes that count. Give others. The first one skipped: a.mid: it is not a MIDI file (no "
        "MThd at the start).",
    ),
    Mistake("train.py --midi-dir short", 1, "No window fits: --window 100 needs 101 tokens"),
    Mistake(
        "train.py --midi-dir short --no-across-songs", 1,
        "Error: No window fits: --window 100 needs 101 tokens in one piece, and the longest has "
        "50; give more music or a smaller --window.",
    ),
    Mistake(
        "train.py --midi-dir short --held-out 0.5", 1, "of 1 songs out and leaves none to train",
    ),
    Mistake(
        "train.py --midi-dir uneven --held-out 0.4 --window 8 --seed 1", 1,
        "Error: --held-out 0.4 keeps 1 songs out, all too short for a --window of 8: hold out "
        "more, or give a smaller window.",
    ),
    Mistake(
        "train.py --corpus short", 1,
        "Error: short is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus DIR.",
    ),
    Mistake(
        "train.py --corpus none", 1,
        "Error: none is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus DIR.",
    ),
    Mistake(f"{ANEW}/x", 1, "Error: --run-dir new/x can't be made: ", a.written("new", "")),
    Mistake(ANEW, 1, "Error: --run-dir new can't be made: ", a.written("new", "")),
    Mistake(
        "train.py --midi-dir long", 1, ".partial can't be written: Not a directory. What was saved",
        a.written("corpora", ""),
    ),
    Mistake(
        f"{ANEW} --deduplicate", 2,
        "Error: --deduplicate is for preparing, and the corpus songs-corpus was prepared without "
        "it: prepare it again with prepare.py --deduplicate.",
    ),
    Mistake(
        "train.py --midi-dir songs --max-skipped-share 0.1", 1,
        "Error: 1 of the 3 MIDI files in songs were skipped, more than --max-skipped-share 0.1 "
        "allows;",
        a.copied("bad/a.mid", "songs/bad.mid"),
    ),
    Mistake(
        "prepare.py none --corpus c", 1,
        "Error: There is no folder none: give a folder of MIDI files.",
    ),
    Mistake(
        "prepare.py short --corpus bad", 1,
        "Error: bad holds other things than a corpus: give another --corpus.",
    ),
    Mistake(
        "prepare.py short --corpus bad/a.mid", 1,
        "Error: bad/a.mid is a file: give another --corpus.",
    ),
    Mistake(
        "prepare.py short --corpus bad/a.mid/c", 1,
        "Error: bad/a.mid/.c.partial can't be written: Not a directory. What was saved before is "
        "kept: move away what is in its place and start the same command again.",
    ),
    Mistake(
        "prepare.py short --corpus of-notes", 1,
        "Error: of-notes holds a corpus of notes (--notes), which one of MIDI files would "
        "replace: give another --corpus, or remove that folder.",
    ),
    Mistake(
        "prepare.py --show short", 1,
        "Error: short is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus DIR.",
    ),
    Mistake(
        "prepare.py --show bad/a.mid", 1,
        "Error: bad/a.mid is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus "
        "DIR.",
    ),
    Mistake(
        "prepare.py --check none", 1,
        "Error: none is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus DIR.",
    ),
    Mistake(
        "prepare.py closed --corpus c", 1,
        "Error: The folder closed can't be read: Permission denied. Make it readable, or give "
        "another one.",
        a.closed("closed"),
    ),
]  # fmt: skip

NOTES = [
    Mistake(
        "prepare.py --notes none --corpus c", 1,
        "Error: --notes none: there is no such file. Give the file that the notebooks keep "
        "(data/notes).",
    ),
    Mistake(
        "prepare.py --notes bad --corpus c", 1,
        "Error: --notes bad is a folder. Give the file that the notebooks keep (data/notes).",
    ),
    Mistake(
        "prepare.py --notes bad/a.mid --corpus c", 1,
        "Error: --notes bad/a.mid can't be read: it holds the opcode REDUCE, and could run code: "
        "only a list of texts is read. Give the file that the notebooks keep (data/notes).",
    ),
    Mistake(
        "prepare.py --notes n --corpus c", 1,
        "Error: --notes n holds an empty list. Give the file that the notebooks keep "
        "(data/notes).",
        a.pickled("n", []),
    ),
    Mistake(
        "prepare.py --notes n --corpus c", 1,
        "Error: --notes n holds 'H9' as token 1: neither the name of a pitch (as E5, B-4) nor a "
        "chord in normal order (as 4.9). Give the file that the notebooks keep (data/notes).",
        a.pickled("n", ["C4", "H9"]),
    ),
    Mistake(
        "prepare.py --notes n --corpus c", 1, "could run code: only a list of texts is read.",
        a.pickled("n", Path()),
    ),
    Mistake(
        "prepare.py --notes n --corpus c", 1,
        "Error: --notes n has more than 64 MiB: it is not read. Give the file that the notebooks "
        "keep (data/notes).",
        a.sparse("n", (64 << 20) + 1),
    ),
    Mistake(
        "prepare.py --notes notes --corpus songs-corpus", 1,
        "Error: songs-corpus holds a corpus of MIDI files, which one of notes (--notes) would "
        "replace: give another --corpus, or remove that folder.",
    ),
]  # fmt: skip

CORPORA = [
    Mistake(
        SHOW, 1,
        f"{CORPUS}corpus.json is missing (half-copied?). Copy it again, whole, or prepare it "
        "again.",
        a.removed(ABOUT),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}tokens.npy is missing (half-copied?).",
        a.removed("songs-corpus/tokens.npy"),
    ),
    Mistake(
        SHOW, 1,
        "Error: The corpus songs-corpus was made by a newer version of jaxmusic (format 2; this "
        "one reads 1): update jaxmusic.",
        a.told(ABOUT, format=2),
    ),
    Mistake(
        SHOW, 1,
        "made by an older version of jaxmusic (format 0; this one reads 1): prepare it again.",
        a.told(ABOUT, format=0),
    ),
    Mistake(SHOW, 1, f"{CORPUS}corpus.json tells no tokens.", a.told(ABOUT, tokens="120")),
    Mistake(SHOW, 1, f"{CORPUS}corpus.json: it is no JSON: ", a.written(ABOUT, "{")),
    Mistake(SHOW, 1, f"{CORPUS}corpus.json: Is a directory.", a.as_folder(ABOUT)),
    Mistake(
        SHOW, 1, f"{CORPUS}corpus.json tells of duplicates in another way.",
        a.told(ABOUT, duplicates=[]),
    ),
    Mistake(
        SHOW, 1,
        f"{CORPUS}tokens.npy has the shape (120,) and the type int16, where a row of uint16 is "
        "expected.",
        a.array("songs-corpus/tokens.npy", lambda tokens: tokens.astype("i2")),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}songs.npy tells no places of songs among 120 tokens.",
        a.array("songs-corpus/songs.npy", lambda places: places + 1),
    ),
    Mistake(
        SHOW, 1,
        f"{CORPUS}its files hold 120 tokens, 2 songs and 11 distinct tokens, where its "
        "corpus.json tells 120 tokens, 3 songs and 11 distinct tokens.",
        a.told(ABOUT, songs=3),
    ),
    Mistake(
        SHOW, 1,
        f"{CORPUS}vocabulary.json is of the scheme classic, where its corpus.json tells 'timed'.",
        a.told(ABOUT, scheme="timed"),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}ledger.jsonl tells 1 files used, where 2 songs are here.",
        a.replaced("songs-corpus/ledger.jsonl", '"used"', '"empty"', count=1),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}ledger.jsonl: it is no JSON: ",
        a.written("songs-corpus/ledger.jsonl", "{"),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}ledger.jsonl: Is a directory.",
        a.as_folder("songs-corpus/ledger.jsonl"),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}tokens.npy has the token 99, of a vocabulary of 11.",
        a.array("songs-corpus/tokens.npy", lambda tokens: tokens * 0 + 99),
    ),
    Mistake(
        ANEW, 1, f"{CORPUS}corpus.json is not what was written.",
        a.told(ABOUT, digest="0" * 32),
    ),
    Mistake(
        CHECK, 1, f"{CORPUS}tokens.npy is not what was written.",
        a.array("songs-corpus/tokens.npy", lambda tokens: tokens[::-1]),
    ),
    Mistake(
        ANEW, 1, f"{CORPUS}tokens.npy has the token 99, of a vocabulary of 11.",
        a.several(
            a.array("songs-corpus/tokens.npy", lambda tokens: tokens * 0 + 99),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        ANEW, 1, f"{CORPUS}vocabulary.json: 'G4x' is neither a pitch nor a chord in normal order.",
        a.several(
            a.replaced("songs-corpus/vocabulary.json", '"G4"', '"G4x"'), a.forged("songs-corpus")
        ),
    ),
    Mistake(
        ANEW, 2,
        "Error: --corpus songs-corpus is of the scheme timed, not of --scheme classic: prepare "
        "one, or give that scheme.",
        a.several(
            a.patched("jaxmusic.tokens.SCHEMES", ("classic", "timed")),
            a.told("songs-corpus/vocabulary.json", scheme="timed"),
            a.told(ABOUT, scheme="timed"),
            a.forged("songs-corpus"),
        ),
    ),
    # Preparing mends it, and says why that takes its time.
    Mistake(
        AGAIN, 0, "The corpus songs-corpus is damaged: tokens.npy is missing (half-copied?): it is",
        a.removed("songs-corpus/tokens.npy"),
    ),
    Mistake(
        AGAIN, 0, "is damaged: ledger.jsonl: it has a row with other fields: it is made anew.",
        a.several(
            a.replaced("songs-corpus/ledger.jsonl", '"size"', '"length"'), a.forged("songs-corpus")
        ),
    ),
    Mistake(
        AGAIN, 0, "is damaged: ledger.jsonl tells 122 tokens, where it holds 120: it is made anew.",
        a.several(
            a.replaced("songs-corpus/ledger.jsonl", '"tokens": 60', '"tokens": 61'),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        AGAIN, 0, "is damaged: ledger.jsonl: no file is the same as z.mid: it is made anew.",
        a.several(
            a.added(
                "songs-corpus/ledger.jsonl",
                '{"path": "z.mid", "size": 1, "digest": "", "tokens": 0, "status": "duplicate"}\n',
            ),
            a.forged("songs-corpus"),
        ),
    ),
]  # fmt: skip

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
        a.told(CONFIG, model__hidden_size=9),
    ),
    Mistake(
        GENERATE, 1, "The checkpoint of step 1 is damaged, passed over: it is another run's",
        a.told("songs-run/corpus.json", run="another"),
    ),
    Mistake(
        GENERATE, 1, "songs-run/checkpoints/1/seal.json can't be read: Permission denied.",
        a.refused("jaxmusic.shelf.read_seal", "songs-run/checkpoints/1/seal.json"),
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
        "Error: Another training is at work in --run-dir songs-run: wait for it, or give another "
        "folder.",
        a.held("songs-run"),
    ),
    Mistake(
        GO_ON, 1, f"{RUN}vocabulary.json has other tokens than its corpus.",
        a.several(
            a.told("songs-run/corpus.json", without="digests"),
            a.replaced("songs-run/vocabulary.json", '"C4"', '"C#4"'),
        ),
    ),
    Mistake(
        GO_ON, 1, f"{RUN}it has checkpoints, but no config.json (half-copied?).",
        a.removed(CONFIG),
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
        GENERATE, 1, f"{RUN}corpus.json tells no digest.",
        a.told("songs-run/corpus.json", without="digest"),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}primes.npy is not the one that the run began with.",
        a.array("songs-run/primes.npy", lambda primes: primes[::-1]),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}vocabulary.json: 'C4x' is neither a pitch nor a chord in normal order.",
        a.several(
            a.told("songs-run/corpus.json", without="digests"),
            a.replaced("songs-run/vocabulary.json", '"C4"', '"C4x"'),
        ),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}vocabulary.json is of the scheme 'timed'.",
        a.several(
            a.patched("jaxmusic.tokens.SCHEMES", ("classic", "timed")),
            a.told("songs-run/corpus.json", without="digests"),
            a.told("songs-run/vocabulary.json", scheme="timed"),
        ),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}primes.npy has the shape (112, 7), not (any, 8).",
        a.several(
            a.told("songs-run/corpus.json", without="digests"),
            a.array("songs-run/primes.npy", lambda primes: primes[:, 1:]),
        ),
    ),
    Mistake(
        GENERATE, 1, f"{RUN}primes.npy has tokens beyond a vocabulary of 11.",
        a.several(
            a.told("songs-run/corpus.json", without="digests"),
            a.array("songs-run/primes.npy", lambda primes: primes + 9),
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
        f"Error: {CONFIG} can't be used: its layers is '1', where a value of the type int "
        "belongs.",
        a.told(CONFIG, model__layers="1"),
    ),
    Mistake(
        GENERATE, 1, f"Error: {CONFIG} can't be used: --layers is 0, but must be 1 or more.",
        a.told(CONFIG, model__layers=0),
    ),
]  # fmt: skip

TRAINING = [
    Mistake(
        f"{ANEW} --max-steps 4 --learning-rate 1e38", 1,
        "The checkpoints before it are kept; start another run with a smaller --learning-rate, or",
    ),
    Mistake(
        f"{ANEW} --recurrence cpu", 1,
        "Error: --recurrence cpu: no C++ compiler is installed; use auto or scan.",
        a.patched("jaxmusic.lstm.why_unavailable", lambda: "no C++ compiler is installed"),
    ),
    Mistake(
        f"{ANEW} --recurrence pallas --hidden-size 1024", 1,
        "Error: --recurrence pallas: the weights of 1024 units in f32 don't fit into a TPU's "
        "VMEM; use --recurrence scan.",
    ),
]  # fmt: skip

GENERATING = [
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
        f"{GENERATE} --length 4", 1, "Error: songs-run/samples/seed-0.mid can't be written:",
        a.written("songs-run/samples", ""),
    ),
]  # fmt: skip

LARGE_SETS = [
    Mistake("make_large_set.py out --files 0", 2, "Error: --files is 0, but must be 1 or more."),
    Mistake(
        "make_large_set.py songs --midi-dir songs", 2,
        "Error: songs is not empty: give another folder.",
    ),
    Mistake(
        "make_large_set.py bad/a.mid --midi-dir songs", 2,
        "Error: bad/a.mid is a file: give a folder, one that is empty or not there.",
    ),
    Mistake(
        "make_large_set.py bad/a.mid/out --midi-dir songs", 1,
        "Error: bad/a.mid/out/0000 can't be used: Not a directory. Give another path, or move "
        "away what is in its place, and start the same command again.",
    ),
    Mistake("make_large_set.py out --seed -1", 2, "Error: --seed is -1, but must be 0 or more."),
    Mistake(
        "make_large_set.py out --midi-dir none", 1,
        "Error: There is no folder none: give a folder of MIDI files.",
    ),
    Mistake(
        "make_large_set.py out --midi-dir bad", 1,
        "Error: None of the 1 MIDI files in bad has any notes: give other songs.",
    ),
]  # fmt: skip

TORTURE = [
    Mistake("torture.py --stops 0", 2, "Error: --stops is 0, but must be 1 or more."),
    Mistake("torture.py --signals HUP", 2, "Expected one of ('KILL', 'TERM', 'INT')."),
    Mistake("torture.py --signals", 2, "Error: --signals is empty: give one or more."),
    Mistake(
        "torture.py --midi-dir none", 1,
        "Error: There is no folder none: give a folder of MIDI files.",
    ),
    Mistake(
        "torture.py --midi-dir songs --folder songs-run", 2,
        "Error: --folder songs-run is not empty: give another folder.",
    ),
    Mistake(
        "torture.py --midi-dir songs --folder bad/a.mid", 2,
        "Error: --folder bad/a.mid is a file: give a folder, one that is empty or not there.",
    ),
    Mistake(
        "torture.py --midi-dir songs --json none/x", 2,
        "Error: --json none/x: there is no folder none; make it, or give another file.",
    ),
]  # fmt: skip

FUZZING = [
    Mistake("fuzz_midi.py --files 0", 2, "Error: --files is 0, but must be 1 or more."),
    Mistake("fuzz_midi.py --first -1", 2, "Error: --first is -1, but must be 0 or more."),
    Mistake("fuzz_midi.py --seed -1", 2, "Error: --seed is -1, but must be 0 or more."),
    Mistake(
        "fuzz_midi.py --from none",
        1,
        "Error: There is no folder none: give a folder of MIDI files.",
    ),
]

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

COMPILING = [
    Mistake(
        "compile_tpu.py fast", 2,
        "Error: There is no preset fast: give one of classic, classic-64, quick.",
    ),
    Mistake("compile_tpu.py --tokens x", 2, "--tokens:"),
    Mistake(
        "compile_tpu.py", 1, "Error: The compiler for TPUs, libtpu, is not installed: pip install",
        a.patched("tpu_report.libtpu.find_spec", lambda name: None),
    ),
    Mistake("compile_tpu.py --epochs 0", 2, "Error: --epochs is 0, but must be 1 or more.", HERE),
    Mistake(
        "compile_tpu.py --devices 2", 2,
        "Error: --devices 2: here --topology says which devices there are.",
        HERE,
    ),
    Mistake("compile_tpu.py --recurrence cpu", 2, "no kernel for TPUs; use scan or pallas.", HERE),
    Mistake(
        "compile_tpu.py --topology v9:2x2", 2, "Error: --topology v9:2x2: there is no such",
        HERE,
    ),
    Mistake(
        "compile_tpu.py --tokens 9", 2,
        "Error: --tokens is 9, but must be above the --window of 100.",
        HERE,
    ),
    Mistake("compile_tpu.py --vocabulary-size 0", 2, "--vocabulary-size is 0, but must be 1", HERE),
    Mistake(
        "compile_tpu.py --corpus none", 1,
        "Error: none is not a corpus: make one with scripts/prepare.py MIDI_DIR --corpus DIR.",
        HERE,
    ),
    Mistake(
        "compile_tpu.py --json none/x", 2,
        "Error: --json none/x: there is no folder none; make it, or give another file.",
        HERE,
    ),
]  # fmt: skip

MISTAKES = [
    *WRONG_FLAGS, *FOLDERS, *NOTES, *CORPORA, *RUNS, *TRAINING, *GENERATING, *LARGE_SETS, *TORTURE,
    *FUZZING,
    *BENCHMARKS, *COMPILING,
]  # fmt: skip


class Elsewhere(NamedTuple):
    """An error that no command of the list causes."""

    place: str  # file and function
    words: str  # in the message, where the function has others
    why: str
    test: str  # that causes it


PROCESSES = "it takes several processes"
COMPILER = "it takes libtpu, and minutes"
PEERS = "it takes a comparison with peers"
ELSEWHERE = [
    Elsewhere(
        "jaxmusic/processes.py:agree", "", PROCESSES, "test_processes.py:test_what_differs_is_named"
    ),
    Elsewhere(
        "jaxmusic/processes.py:_join", "", "a cluster that can't be joined, after minutes",
        "test_processes.py:test_processes_that_cannot_be_joined_are_told",
    ),
    Elsewhere(
        "jaxmusic/processes.py:_open_channel", "", "hosts that can't reach each other",
        "test_processes.py:test_a_process_that_cannot_be_reached_is_told",
    ),
    Elsewhere(
        "jaxmusic/train.py:fit", "", "the scripts always give a --run-dir",
        "test_train.py:test_a_run_needs_a_folder",
    ),
    Elsewhere(
        "jaxmusic/checkpoint.py:_wait", "", "a disk that is full in the midst of a training",
        "test_checkpoint.py:test_a_failed_save_is_told_soon_and_leaves_all_as_it_was",
    ),
    Elsewhere(
        "jaxmusic/shelf.py:adding", "", "a folder that vanishes in the midst of a training",
        "test_checkpoint.py:test_a_folder_that_vanished_is_told_and_not_made_anew",
    ),
    Elsewhere(
        "scripts/benchmarking/peers.py:_ask", "", PEERS,
        "test_benchmark.py:test_wrong_and_missing_peers_are_told_and_the_others_measured",
    ),
    Elsewhere(
        "scripts/benchmarking/training.py:check_losses", "", PEERS,
        "test_benchmark.py:test_losses_must_be_equal",
    ),
    Elsewhere(
        "scripts/benchmarking/session.py:run_session", "refused", PEERS,
        "test_benchmark.py:test_wrong_and_missing_peers_are_told_and_the_others_measured",
    ),
    Elsewhere(
        "scripts/torture.py:_demand", "", "no mistake of the user's: what it looks for",
        "test_torture.py:test_a_broken_promise_is_told",
    ),
    Elsewhere(
        "scripts/fuzz_midi.py:main", "promises", "no mistake of the user's: what it looks for",
        "test_fuzz_midi.py:test_a_broken_promise_is_told_and_its_file_kept",
    ),
    Elsewhere(
        "scripts/tpu_report/compiling.py:make_topology_mesh", "", COMPILER,
        "test_compile_tpu.py:test_a_topology_that_libtpu_does_not_know_is_told",
    ),
    Elsewhere(
        "scripts/tpu_report/compiling.py:compile_training", "", COMPILER,
        "test_compile_tpu.py:test_a_program_that_cannot_be_read_back_is_told",
    ),
    Elsewhere(
        "scripts/tpu_report/compiling.py:read_error", "", COMPILER,
        "test_compile_tpu.py:test_what_the_compiler_says_of_memory",
    ),
    Elsewhere(
        "scripts/tpu_report/session.py:run_report", "", COMPILER,
        "test_compile_tpu.py:test_a_batch_that_does_not_fit_is_told_and_is_an_error",
    ),
    Elsewhere(
        "scripts/tpu_report/hlo.py:read_module", "", "a compiler that writes programs otherwise",
        "test_compile_tpu.py:test_a_loop_inside_a_step_must_be_known",
    ),
    Elsewhere(
        "scripts/tpu_report/hlo.py:_executed", "", "a compiler that writes programs otherwise",
        "test_compile_tpu.py:test_a_loop_inside_a_step_must_be_known",
    ),
]  # fmt: skip


class Raised(NamedTuple):
    """An error that came into being, and the lines of our code that were under way."""

    error: UserError
    lines: frozenset[tuple[str, int]]


class Records:
    """What the list has caused so far."""

    def __init__(self) -> None:
        self.raised: list[Raised] = []  # by the command under way
        self.visited: set[tuple[str, int]] = set()
        self.run: set[int] = set()  # of the list

    def note(self, error: UserError) -> None:
        """An error comes into being."""
        lines = {
            (Path(frame.f_code.co_filename).relative_to(ROOT).as_posix(), line)
            for frame, line in traceback.walk_stack(None)
            if Path(frame.f_code.co_filename).is_relative_to(ROOT)
        }
        self.raised.append(Raised(error, frozenset(lines)))

    def conclude(self, words: str) -> None:
        """A command has ended: errors count that were told, also as a part of a sentence."""
        for error, lines in self.raised:
            told = " ".join(str(getattr(error, "fault", error)).split())
            if told in words:
                self.visited |= lines
        self.raised.clear()


@pytest.fixture(scope="module")
def records() -> Records:
    return Records()


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished") / "folder"
    a.furnish(folder)
    return folder


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that a script changes in its process is left to the next."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    environment = dict(os.environ)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(environment)


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda n: MISTAKES[n].command[:60])
def test_a_mistake_is_told_in_one_clear_sentence(
    furnished: Path,
    records: Records,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    command, code, words, arranged = MISTAKES[number]
    folder = Path(shutil.copytree(furnished, tmp_path / "work"))
    made = UserError.__init__

    def init(self: UserError, *arguments: object) -> None:
        made(self, *arguments)
        records.note(self)

    with contextlib.ExitStack() as stack:
        monkeypatch.syspath_prepend(SCRIPTS)
        arranged(a.Stage(folder, monkeypatch, stack))
        monkeypatch.setattr(UserError, "__init__", init)
        ended = run_here(folder, command, monkeypatch=monkeypatch, capsys=capsys)
    records.run.add(number)
    records.conclude(ended.words)
    assert ended.code == code, ended.words
    assert words in ended.words
    assert "Traceback" not in ended.words and "[Errno" not in ended.words
    if code and "For full helptext" not in ended.errors:  # else tyro tells it, in a box
        last = ended.errors.splitlines()[-1]
        assert last.startswith("Error: ") and last.endswith("."), last
        assert last.count(". ") <= 3 and len(last) < 500, last


# That these are all of them.


class Place(NamedTuple):
    """A `raise` of a UserError."""

    file: str
    function: str
    lines: range
    text: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.function}"


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("jaxmusic", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def other_errors() -> set[str]:
    """Names of all classes of errors that are no UserError: Python's own, and ours."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    users = {"UserError"}
    while more := {name for name, above in bases.items() if above & users} - users:
        users |= more
    assert {"ConfigError", "DamagedCorpusError", "WrongResultError"} <= users
    return (set(bases) | set(vars(builtins))) - users


def raises_of(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.Raise]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Raise):
            yield function, node
        yield from raises_of(node, node.name if isinstance(node, ast.FunctionDef) else function)


@functools.cache
def all_places() -> list[Place]:
    """Where a UserError is raised. (What isn't called, `raise error`, was raised before.)"""
    others = other_errors()
    return [
        Place(file, function, range(node.lineno, (node.end_lineno or 0) + 1), ast.unparse(node))
        for file, tree in sources()
        for function, node in raises_of(tree)
        if isinstance(node.exc, ast.Call)
        and ast.unparse(node.exc.func).split(".")[-1] not in others
    ]


def test_every_error_is_caused_by_a_mistake_of_the_list(records: Records) -> None:
    if len(records.run) < len(MISTAKES):
        pytest.skip("not all of the list was run here")
    missing = [
        f"{place.name}, line {place.lines[0]}: {place.text}"
        for place in all_places()
        if not any((place.file, line) in records.visited for line in place.lines)
        and not any(each.place == place.name and each.words in place.text for each in ELSEWHERE)
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("each", ELSEWHERE, ids=lambda each: each.place)
def test_what_is_left_to_other_tests_is_there(each: Elsewhere) -> None:
    assert any(each.place == place.name and each.words in place.text for place in all_places())
    file, name = each.test.split(":")
    tests = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8")).body
    assert name in {test.name for test in tests if isinstance(test, ast.FunctionDef)}


def test_too_little_memory_is_told(furnished: Path) -> None:
    """In a process of its own: JAX may abort or hang after an allocation that was refused."""
    script, *arguments = f"{ANEW} --hidden-size 3000000".split()
    ran = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        cwd=furnished, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.splitlines()[-1] == (
        "Error: There is too little memory for this (Out of memory allocating 144000000000000 "
        "bytes): give smaller sizes, of the batch, the network or the music to be made."
    )
    shutil.rmtree(furnished / "new", ignore_errors=True)
