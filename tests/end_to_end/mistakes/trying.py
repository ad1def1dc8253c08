"""The scripts that make large sets, and that try what is promised."""

from end_to_end.mistakes.mistake import Mistake

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
        "torture.py --processes 2 --phases starting", 2,
        "Error: --phases starting is for --processes 1: several know of each other only once "
        "joined.",
    ),
    Mistake(
        "torture.py --signals TERM --phases ending", 2,
        "Error: --phases ending takes --signals KILL: nothing else stops a run whose steps are "
        "done.",
    ),
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
