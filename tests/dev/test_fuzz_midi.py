"""Bad MIDI files: some hundred of those that fuzz_midi.py sends through the parser."""

import math
import random
from pathlib import Path

import pytest
from fuzzing import campaign, files
from fuzzing.damage import WAYS
from fuzzing.loads import LOADS
from fuzzing.pieces import split, valid_file
from helpers.midi_bytes import midi, off, on, track
from helpers.paths import MIDI_SONGS

from jaxmusic.midi.reader import MAX_FILE_SIZE, parse_midi
from jaxmusic.preparation import parsing
from jaxmusic.preparation import worker_pool as workers

SONGS = [path.read_bytes() for path in sorted((MIDI_SONGS).glob("*.mid"))[:9]]
COUNT = 420  # some twenty of each kind, and four loads


def run(tmp_path: Path, count: int) -> campaign.Outcome:
    log = str(tmp_path / "costs")
    one = campaign.Campaign(SONGS, 0, 2, tmp_path / "kept")
    one.run(range(count), log, lambda done: None)
    return one.outcome


def test_bad_files_give_tokens_or_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No test looks at a clock; and this process keeps memory that other tests had. The script
    # looks at both.
    monkeypatch.setattr(campaign, "MOST_SECONDS", math.inf)
    monkeypatch.setattr(campaign, "MOST_MEGABYTES", math.inf)
    outcome = run(tmp_path, COUNT)
    assert not outcome.broken
    rows = outcome.rows
    assert rows["all"].files == COUNT
    assert rows["all"].tokens + rows["all"].empty + rows["all"].refused == COUNT
    assert all(rows[name.replace("_", " ")].files >= 19 for name in WAYS)
    assert 0 < rows["all"].seconds < campaign.MOST_SECONDS
    assert 20 < rows["all"].megabytes < campaign.MOST_MEGABYTES
    assert len(outcome.reasons) > 8 and outcome.reasons.total() == rows["all"].refused
    text = "\n".join(campaign.table(outcome))
    assert "| flip bits | " in text and f"| all | {COUNT} | " in text
    assert not (tmp_path / "kept").exists()


def test_a_broken_promise_is_told_and_its_file_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(data: bytes, scheme: str) -> tuple[list[str], dict[str, int]]:
        if len(data) < 30:
            raise RecursionError("too deep")
        return ["C4", "H9"] if data[:4] == b"MThd" else [], {}

    monkeypatch.setattr(parsing, "parse_counted", fail)
    monkeypatch.setattr(workers, "OWN_FILE_SIZE", MAX_FILE_SIZE)  # all in this process
    monkeypatch.setattr(workers.WorkerPool, "start", lambda self: None)
    monkeypatch.setattr(campaign, "MOST_MEGABYTES", 1.0)
    outcome = run(tmp_path, 40)
    report = "\n".join(outcome.broken)
    assert "a fault of the reader: RecursionError: too deep" in report
    assert "'H9', which is no token" in report and " MB (" in report
    assert outcome.broken[0].startswith("seed 0, file ")
    kept = sorted((tmp_path / "kept").glob("0-*.mid"))
    number = int(kept[0].stem.split("-")[1])
    assert kept[0].read_bytes() == files.make_file(SONGS, 0, number).data


def test_a_file_is_the_same_whenever_it_is_made() -> None:
    made = [files.make_file(SONGS, 7, number) for number in range(1, 60)]
    assert made == [files.make_file(SONGS, 7, number) for number in range(1, 60)]
    assert made != [files.make_file(SONGS, 8, number) for number in range(1, 60)]
    assert len({file.data for file in made}) > 50


def test_undamaged_files_are_read() -> None:
    for seed in range(50):
        parse_midi(valid_file(random.Random(seed)))
    data = midi(track(on(0, 60), off(1, 60)), track())
    assert b"".join(split(data)) == data and len(split(data)) == 3


@pytest.mark.parametrize("name", LOADS)
def test_loads_are_files_of_the_largest_sizes(name: str) -> None:
    sizes = [len(LOADS[name](random.Random(seed))) for seed in range(3)]
    assert max(sizes) > 2**15
    assert name == "too large" or max(sizes) <= MAX_FILE_SIZE
