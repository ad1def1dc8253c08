"""metrics.jsonl."""

import json
from pathlib import Path

import pytest

from jaxmusic.storage.reading import LINE
from jaxmusic.training.reporting.metrics_file import MetricsError, MetricsFile


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, from_step=0)
    for step in (2, 4, 6):
        first.write({"step": step, "loss": 1.0})
    first.close()
    with path.open("a") as file:
        file.write("[" * 100_000 + "\n")  # damaged, so that it costs more than it should to read
        file.write('{"step": 8, "lo')  # killed in the middle of a row
    second = MetricsFile(path, from_step=4)
    second.write({"step": 6, "loss": 2.0})
    second.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"step": 2, "loss": 1.0}, {"step": 4, "loss": 1.0}, {"step": 6, "loss": 2.0}]


def test_a_file_without_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"x" * (LINE + 2))
    with pytest.raises(MetricsError, match="line of more than 1,048,576 bytes. Move it away"):
        MetricsFile(path, from_step=0)


def test_an_epochs_row_is_not_written_twice(tmp_path: Path) -> None:
    """The run was killed between the row and the checkpoint that has its score."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 4, "loss": 1.0}\n{"step": 4, "epoch_loss": 1.5}\n')
    MetricsFile(path, from_step=4, epoch_pending=True).close()
    assert path.read_text() == '{"step": 4, "loss": 1.0}\n'
