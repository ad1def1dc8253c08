"""`benchmark.py data`."""

from pathlib import Path

from helpers.benchmarks import log, report
from helpers.midi_files import write_song

from jaxmusic.benchmarks import reading
from jaxmusic.benchmarks.flags import DataFlags
from jaxmusic.benchmarks.results.table import report_lines


def test_data_is_measured(tmp_path: Path) -> None:
    for number in range(3):
        write_song(tmp_path / f"{number}.mid", 30, seed=number)
    found = report()
    flags = DataFlags(str(tmp_path), rounds=1, round_seconds=1e-3, workers=2, music21=None)
    reading.run_data(flags, found, log)
    names = [each.name for each in found.measurements]
    assert names[:3] == ["jaxmusic, 1 process", "jaxmusic, 2 processes", "mido"]
    assert {"jaxmusic", "notebook loops"} < set(names)
    assert found.measurements[0].work["files"] == 3
    printed = "\n".join(report_lines(found))
    assert "files/s" in printed
    assert found.refused == []
