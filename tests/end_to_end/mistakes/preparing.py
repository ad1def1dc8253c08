"""Folders of MIDI files, and files of notes, that no corpus is made of."""

from pathlib import Path

import helpers.arrangements as a
from end_to_end.mistakes.mistake import ANEW, Mistake

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
        "train.py --midi-dir long", 1, ".lock can't be written: Not a directory. What was saved",
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
        "Error: bad can't be replaced by a corpus: it holds a.mid. Move that away, or give another "
        "--corpus.",
    ),
    Mistake(
        "prepare.py short --corpus songs-run", 1,
        "Error: songs-run holds a run, which a corpus would replace: give another --corpus.",
    ),
    Mistake(
        "prepare.py songs --corpus songs-corpus", 1,
        "Error: songs-corpus can't be replaced by a corpus: it holds a.txt. Move that away, or",
        a.written("songs-corpus/a.txt", "precious"),
    ),
    Mistake(
        "prepare.py short --corpus c", 1,
        "Error: .c.lock is needed as a lock, and holds something else: move it away.",
        a.copied("bad/a.mid", ".c.lock"),
    ),
    Mistake(
        "train.py --corpus songs-run", 1,
        "Error: songs-run holds a run, not a corpus: give the corpus that it was trained on (",
    ),
    Mistake(
        "prepare.py short --corpus bad/a.mid", 1,
        "Error: bad/a.mid is a file: give another --corpus.",
    ),
    Mistake(
        "prepare.py short --corpus bad/a.mid/c", 1,
        "Error: bad/a.mid/.c.lock can't be written: Not a directory. What was saved before is "
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
        "Error: --notes n can't be read: it has 67,108,865 bytes, more than the 67,108,864 "
        "that are read of it. Give the file that the notebooks keep (data/notes).",
        a.sparse("n", (64 << 20) + 1),
    ),
    Mistake(
        "prepare.py --notes notes --corpus songs-corpus", 1,
        "Error: songs-corpus holds a corpus of MIDI files, which one of notes (--notes) would "
        "replace: give another --corpus, or remove that folder.",
    ),
]  # fmt: skip
