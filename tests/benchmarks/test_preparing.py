"""`benchmark.py prepare`."""

import sys
from pathlib import Path

from helpers.benchmarks import log, report
from helpers.midi_files import write_song

from jaxmusic.benchmarks import preparing
from jaxmusic.benchmarks.flags import PrepareFlags
from jaxmusic.benchmarks.results.table import report_lines


def test_preparing_is_measured(tmp_path: Path) -> None:
    for number in range(3):
        write_song(tmp_path / "songs" / f"{number}.mid", 40, seed=number)
    sets = tmp_path / "sets"
    flags = PrepareFlags(
        files=(20,), midi_dir=str(tmp_path / "songs"), sets=str(sets), workers=2, rounds=1
    )
    for _ in range(2):  # the set is made once
        found = report()
        preparing.run_preparing(flags, found, log)
        assert len(list(sets.rglob("*.mid"))) == 20  # those that were more are gone again
    assert [each.name for each in found.measurements] == [
        "2 processes", "1 process", "2 apart, by 2", "again, nothing new", "10 files more",
        "the rest, killed half way",
    ]  # fmt: skip
    assert {each.work["files"] for each in found.measurements} == {20}
    if sys.platform == "linux":
        peaks = {each.name: each.extras.get("all_peak_bytes", 0) for each in found.measurements}
        assert peaks.pop("2 apart, by 2") == 0  # not looked at
        assert all(peak > 10**7 for peak in peaks.values())
    assert "all processes MiB" in "\n".join(report_lines(found))
