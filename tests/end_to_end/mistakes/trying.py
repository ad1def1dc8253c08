"""The scripts that make large sets, and that try what is promised."""

from typing import Any

import helpers.arrangements as a
from end_to_end.mistakes.mistake import Mistake
from fuzzing.campaign import Campaign

LARGE_SETS = [
    Mistake("make_large_set.py out --files 0", 2, "--files 0 1"),
    Mistake("make_large_set.py songs --midi-dir songs", 2, "song empty"),
    Mistake("make_large_set.py bad/a.mid --midi-dir songs", 2, "bad/a.mid file"),
    Mistake("make_large_set.py bad/a.mid/out --midi-dir songs", 1, "bad/a.mid/out/0000 directory"),
    Mistake("make_large_set.py out --seed -1", 2, "--seed -1 0"),
    Mistake("make_large_set.py out --midi-dir none", 1, "folder none"),
    Mistake("make_large_set.py out --midi-dir bad", 1, "bad notes"),
]  # fmt: skip

FAULTS = [
    Mistake("inject_faults.py --stops 0", 2, "--stops 0 1"),
    Mistake("inject_faults.py --signals HUP", 2, "KILL TERM INT"),
    Mistake("inject_faults.py --signals", 2, "--signals empty"),
    Mistake(
        "inject_faults.py --processes 2 --phases starting", 2, "--phases starting --processes 1"
    ),
    Mistake("inject_faults.py --signals TERM --phases ending", 2, "--phases ending --signals run"),
    Mistake("inject_faults.py --midi-dir none", 1, "folder none"),
    Mistake("inject_faults.py --midi-dir songs --folder songs-run", 2, "--folder songs-run empty"),
    Mistake("inject_faults.py --midi-dir songs --folder bad/a.mid", 2, "--folder bad/a.mid file"),
    Mistake("inject_faults.py --midi-dir songs --json none/x", 2, "--json none/x folder"),
]  # fmt: skip


def find_a_fault(campaign: Campaign, *given: Any) -> None:
    campaign.outcome.broken.append("seed 0, file 0: a fault")


FUZZING = [
    Mistake("fuzz_midi.py --files 0", 2, "--files 0 1"),
    Mistake("fuzz_midi.py --first -1", 2, "--first -1 0"),
    Mistake("fuzz_midi.py --seed -1", 2, "--seed -1 0"),
    Mistake("fuzz_midi.py --from none", 1, "folder none"),
    Mistake(
        "fuzz_midi.py --from songs --files 1", 1, "seed 0 file 0 1 promise",
        a.patched("fuzzing.campaign.Campaign.run", find_a_fault),
    ),
]  # fmt: skip
