"""Reports as JSON files."""

from pathlib import Path

import pytest
from helpers.benchmarks import measurement, report

from jaxmusic.benchmarks.results.measurement import ReportError, load_report, save_report


def test_a_report_comes_back_from_its_json(tmp_path: Path) -> None:
    ours = report(measurement("a", 1, 2))
    save_report(ours, tmp_path / "r.json")
    assert load_report(tmp_path / "r.json") == ours
    for text in ("", "{}", '{"format": 9}', '{"format": 1, "measurements": [{}]}', "[1]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ReportError, match="bad.json"):
            load_report(tmp_path / "bad.json")
