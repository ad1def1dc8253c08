"""What a run's bits depend on: recorded, compared when it goes on, kept where that can be."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.small_runs import STEPS_PER_EPOCH, assert_same_run, changed, small_config, small_corpus

from jaxmusic.config import Config
from jaxmusic.console import Console
from jaxmusic.nn.lstm import RECURRENCES, choose_recurrence
from jaxmusic.nn.recurrence import Workload
from jaxmusic.run_dir import environment
from jaxmusic.run_dir.environment import (
    COMPUTING,
    EnvironmentFile,
    changes,
    cores,
    merge_environments,
)
from jaxmusic.trainer import fit

PACKAGE = Path(environment.__file__).parents[1]
# What the modules that compute import, and no number comes from.
NO_NUMBERS = {
    "config.py", "console.py", "corpus/corpus.py", "distributed/devices.py",
    "distributed/processes.py", "errors.py", "nn/cpu/build.py", "nn/cpu/recurrence.py",
    "nn/pallas/recurrence.py", "nn/recurrence.py", "preparation/prepare.py",
    "runtime/printable.py", "storage/reading.py", "tokenizers/tokenizer.py",
    "tokenizers/vocabulary.py",
}  # fmt: skip
WAYS = {name for each in RECURRENCES.values() for name in each.sources}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("songs"))


@pytest.fixture
def config(corpus: Path, tmp_path: Path) -> Config:
    config = small_config(corpus, tmp_path / "run", epochs=1)
    return changed(config, "model", layers=1)


def said(config: Config, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    fit(config, console=Console())
    return capsys.readouterr().out


def test_what_changed_is_told_by_name() -> None:
    before = {"the number of cores": 2, "recurrence": "cpu", "XLA_FLAGS": "", "gone": 1}
    now = {"recurrence": "scan", "the number of cores": 2, "XLA_FLAGS": "--a\x1b", "new": "x"}
    assert changes(before, now) == [
        "recurrence changed from cpu to scan",
        r"XLA_FLAGS changed from none to --a\x1b",
        "new changed from none to x",
        "gone changed from 1 to none",
    ]
    kernel = {"the build of the C++ kernel": "a", "the digest of its sources": "b"}
    assert changes(before | kernel, now) == changes(before, now)  # these go with the way
    assert changes(before, dict(before)) == []
    assert changes({"the number of cores": 2}, {"the number of cores": 1}) == [
        "the number of cores changed from 2 to 1 (NPROC=2 in the environment keeps the bits)"
    ]


def test_where_processes_differ_each_is_recorded() -> None:
    one, two = {"cores": 2, "devices": 1}, {"cores": 4, "devices": 1}
    assert merge_environments([one, two]) == {"cores": [2, 4], "devices": 1}
    assert merge_environments([one]) == one


def test_rows_after_the_checkpoint_are_of_lost_work(tmp_path: Path) -> None:
    """Begun on 2 cores, gone on on 1 after step 10; that was lost, so nothing has changed."""
    path = tmp_path / "environment.json"
    two, one = {"cores": 2}, {"cores": 1}
    assert EnvironmentFile(path, 0).record(two) is None
    line = EnvironmentFile(path, 10).record(one)
    assert line == "Going on, but not bit for bit: cores changed from 2 to 1."
    rows = json.loads(path.read_text())
    assert rows == [
        {"from_step": 0, "computed_with": two},
        {"from_step": 10, "computed_with": one},
    ]
    assert EnvironmentFile(path, 20).record(one) is None
    assert EnvironmentFile(path, 10).last == two
    assert EnvironmentFile(path, 10).record(two) is None
    assert EnvironmentFile(path, 0).last is None  # begun anew


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '[{"from_step": 0}]', "[[1]]", "[" * 9])
def test_a_damaged_file_ends_nothing_and_is_logged(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "environment.json"
    if content is not None:
        path.write_text(content)
    line = EnvironmentFile(path, 5).record({"cores": 2})
    assert line is not None and line.startswith("Going on, but perhaps not bit for bit: environm")
    assert EnvironmentFile(path, 6).record({"cores": 2}) is None


def test_cores_are_those_that_xla_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PJRT_NPROC", "NPROC"):
        monkeypatch.delenv(name, raising=False)
    assert cores() >= 1
    monkeypatch.setenv("NPROC", "3")
    assert cores() == 3


def imported(path: Path) -> set[str]:
    """Files of the package that one of them imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("jaxmusic"):
            module = str(node.module).removeprefix("jaxmusic").lstrip(".").replace(".", "/")
            names = (module, *(f"{module}/{alias.name}".lstrip("/") for alias in node.names))
            found |= {f"{name}.py" for name in names if (PACKAGE / f"{name}.py").is_file()}
    return found


def test_the_sources_that_compute_are_all_named() -> None:
    """All that the programs of a training and its batches import."""
    seen: set[str] = set()
    to_see = {"training/programs.py", "data/loader.py"}
    while to_see:
        name = to_see.pop()
        seen.add(name)
        if name not in NO_NUMBERS:
            to_see |= imported(PACKAGE / name) - seen
    assert seen - NO_NUMBERS - WAYS <= set(COMPUTING)
    assert all((PACKAGE / name).is_file() for name in {*COMPUTING, *WAYS})


def test_auto_comes_to_what_suits_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def used(recurrence: Any = "auto", rows: int = 128, platform: str = "cpu") -> str:
        return choose_recurrence(recurrence, Workload(platform, 100, rows, (8, 8))).name

    assert used("scan") == "scan"
    assert used("wavefront") == "wavefront"
    assert used(rows=1) == "scan"
    monkeypatch.setattr("jaxmusic.nn.cpu.recurrence.why_unavailable", lambda: None)
    assert used() == "cpu"
    monkeypatch.setattr("jaxmusic.nn.cpu.recurrence.why_unavailable", lambda: "no compiler")
    assert used() == "scan"
    assert used(platform="gpu") == "wavefront"
    assert used(platform="gpu", rows=1024) == "wavefront, a layer at a time"


@pytest.mark.slow
def test_a_run_keeps_its_recurrence_and_logs_what_it_cannot_keep(
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("jaxmusic.run_dir.environment.cores", lambda: 2)
    by_scan = changed(config, "run", recurrence="scan")
    whole = changed(by_scan, "run", run_dir=str(tmp_path / "whole"))
    fit(whole)
    fit(changed(by_scan, "train", max_steps=3))

    # `auto` would take another way here, but keeps that of the steps before, bit for bit.
    monkeypatch.setattr("jaxmusic.nn.cpu.recurrence.why_unavailable", lambda: None)
    output = said(config, capsys)
    assert "as in this run before, as with --recurrence scan. (--recurrence cpu" in output
    assert "not bit for bit" not in output
    assert_same_run(whole.run.run_dir, config.run.run_dir)

    # The way of before isn't there any more, and the machine is another.
    path = tmp_path / "run" / "environment.json"
    path.write_text(path.read_text().replace('"recurrence": "scan"', '"recurrence": "cpu"'))
    monkeypatch.setattr(
        "jaxmusic.nn.cpu.recurrence.why_unavailable", lambda: "no C++ compiler is installed"
    )
    monkeypatch.setattr("jaxmusic.run_dir.environment.cores", lambda: 1)
    longer = changed(config, "train", epochs=2, max_steps=STEPS_PER_EPOCH + 1)
    line = (
        "Going on, but not bit for bit: recurrence changed from cpu to scan; the number of cores "
        "changed from 2 to 1 (NPROC=2 in the environment keeps the bits)."
    )
    assert line in said(longer, capsys).replace("\n", " ")
    rows = json.loads(path.read_text())
    assert [row["from_step"] for row in rows] == [0, STEPS_PER_EPOCH]

    # From there on nothing changes. And what is finished changes nothing.
    monkeypatch.setattr("jaxmusic.run_dir.environment.cores", lambda: 3)
    assert "not bit for bit" not in said(longer, capsys)
    assert json.loads(path.read_text()) == rows
