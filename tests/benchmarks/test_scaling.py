"""`benchmark.py scaling`: configurations, shares and reports. No test depends on a clock."""

import dataclasses
import math
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.paths import ROOT

from jaxmusic.benchmarks import scaling
from jaxmusic.benchmarks.flags import ScalingFlags
from jaxmusic.benchmarks.harness import collectives
from jaxmusic.benchmarks.harness.process import BaselineError, MeasuredProcess
from jaxmusic.benchmarks.harness.rounds import Contestant
from jaxmusic.benchmarks.results.machine import describe_machine
from jaxmusic.benchmarks.results.measurement import Measurement, Report, load_report, save_report
from jaxmusic.benchmarks.results.table import report_lines
from jaxmusic.benchmarks.scaling import Configuration
from jaxmusic.config import ConfigError

TINY = ScalingFlags(
    devices=(1, 2), processes=(1, 2), hidden_size=4, layers=1, window=3, batch_size=4,
    vocabulary_size=7, rounds=1, round_seconds=1e-3,
)  # fmt: skip


def report() -> Report:
    return Report("scaling", {}, describe_machine())


def log(line: str) -> None:
    pass


def test_each_configuration_is_measured(tmp_path: Path) -> None:
    found = report()
    scaling.run_scaling(TINY, found, log)
    assert (found.left_out, found.refused) == ([], [])
    names = [each.name for each in found.measurements]
    assert names == ["1 device", "2 devices", "2 devices, 2 processes"]
    for each, devices in zip(found.measurements, (1, 2, 2), strict=True):
        assert len(each.samples) == 1
        figures = {name: each.extras[name] for name in ("of_one_device", "efficiency")}
        assert all(math.isfinite(value) and value > 0 for value in figures.values())
        assert figures["efficiency"] == figures["of_one_device"] / devices
        shares = [each.extras[name] for name in ("waiting_share", "collectives_share")]
        assert 0 <= shares[0] <= shares[1] <= 1
        assert (shares[1] == 0) == (devices == 1)
    assert found.measurements[0].extras["efficiency"] == 1
    save_report(found, tmp_path / "r.json")
    assert load_report(tmp_path / "r.json") == found
    said = "\n".join(report_lines(found))
    assert "efficiency  collectives  waiting" in said
    assert "Strong scaling" in said
    assert "The devices are virtual" in said


def test_configurations_are_those_that_share_equally() -> None:
    flags = dataclasses.replace(TINY, devices=(4, 2, 3, 2), processes=(2, 1))
    names = [each.name for each in scaling.configurations(flags)]
    assert names == [
        "1 device", "2 devices", "3 devices", "4 devices", "2 devices, 2 processes",
        "4 devices, 2 processes",
    ]  # fmt: skip


def test_weak_scaling_gives_each_device_a_batch() -> None:
    four = Configuration(4, 2)
    assert scaling.workload_for(TINY, four).train.batch_size == 4
    weak = dataclasses.replace(TINY, weak=True)
    assert scaling.workload_for(weak, four).train.batch_size == 16


def test_a_failing_configuration_is_reported_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here with processes that only say that they are there."""

    def start(
        configuration: Configuration, workload: Any, group: str, flags: Any, stack: Any
    ) -> Contestant:
        if configuration.devices == 2:
            raise BaselineError(f"{configuration.name}: its process ended.")
        loss = 2.5 if configuration.devices == 3 else 2.0
        extras = {"platform": "gpu", "available": 3, "first_loss": loss}
        work = {"windows": float(workload.train.batch_size)}
        measurement = Measurement(group, configuration.name, "step", work, extras=extras)
        return Contestant(_Silent(), measurement)

    monkeypatch.setattr(scaling, "_start", start)
    for one_at_a_time in (False, True):
        found = report()
        flags = dataclasses.replace(
            TINY, devices=(1, 2, 3, 4), processes=(1,), one_at_a_time=one_at_a_time
        )
        scaling.run_scaling(flags, found, log)
        assert [each.name for each in found.measurements] == ["1 device"]
        assert found.measurements[0].extras["efficiency"] == 1
        assert found.left_out == ["2 devices: its process ended.", "4 devices: there are 3 here"]
        assert len(found.refused) == 1
        assert "3 devices: its loss at the same weights is 2.5" in found.refused[0]


class _Silent(MeasuredProcess):
    """One that takes a second for everything."""

    def __init__(self) -> None:
        pass

    def call(self, name: str, **arguments: Any) -> Any:
        return SimpleNamespace(result={}, seconds=1.0, host_peak_bytes=0)


def test_shares_are_of_all_devices_time() -> None:
    first = {"all-reduce.1": [1.0, 2.0], "all-reduce.2": [0.5]}
    second = {"all-reduce.1": [3.0, 1.0], "all-reduce.2": [0.5]}
    found = collectives.shares([first, second], 10.0)
    assert found is not None
    assert found.collectives == pytest.approx(8 / 20)
    assert found.waiting == pytest.approx((2 + 1) / 20)
    assert collectives.shares([first, {"all-reduce.1": [1.0]}], 10.0) is None
    assert collectives.shares([], 10.0) is None


def event(name: str, start: float, milliseconds: float, **stats: Any) -> SimpleNamespace:
    return SimpleNamespace(
        name=name, start_ns=start, duration_ns=1e6 * milliseconds, stats=stats.items()
    )


def plane(name: str, *events: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(name=name, lines=[SimpleNamespace(events=events)])


def test_a_profile_is_read_by_device() -> None:
    host = plane(
        "/host:CPU",
        event("all-reduce.1", 9, 2, hlo_op="all-reduce.1", device_ordinal=0),
        event("all-reduce.1", 1, 1, hlo_op="all-reduce.1", device_ordinal=0),
        event("all-reduce.1", 1, 3, hlo_op="all-reduce.1", device_ordinal=1),
        event("end: all-reduce.1", 1, 3),
        event("fusion.2", 1, 3, device_ordinal=1),
    )
    times = collectives.device_times([host])
    assert times == [{"all-reduce.1": [0.001, 0.002]}, {"all-reduce.1": [0.003]}]
    gpu = plane("/device:GPU:0", event("ncclDevKernel_Sum", 1, 4, hlo_op="all-reduce-start.1"))
    assert collectives.device_times([host, gpu]) == [{"all-reduce-start.1": [0.004]}]


MISTAKES = [
    ({"devices": (1, 0)}, "--devices must be one number or more, each of them 1 or more"),
    ({"devices": ()}, "--devices must be one number"),
    ({"processes": (0,)}, "--processes must be one number"),
    ({"devices": (1, 2), "processes": (3,)}, "none of --devices 1 2 can be shared equally"),
    ({"rounds": 0}, "--rounds is 0, but must be 1 or more"),
    ({"batch_size": 0}, "--batch-size is 0"),
    ({"layers": 0}, "--layers is 0"),
    ({"window": 0}, "--window is 0"),
    ({"weak": True, "batch_size": 40_000}, "--batch-size 80000: the tokens give"),
]


@pytest.mark.parametrize(("given", "words"), MISTAKES)
def test_a_users_mistake_is_one_clear_sentence(given: dict[str, Any], words: str) -> None:
    found = report()
    with pytest.raises(ConfigError, match=words):
        scaling.run_scaling(dataclasses.replace(TINY, **given), found, log)
    assert found.measurements == []


def test_the_command_reads_its_flags(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "benchmark.py",
        "scaling",
        "quick",
        "--devices",
        "2",
        "0",
        "--processes",
        "1",
        "--weak",
    ]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / "benchmark.py"), run_name="__main__")
    assert ended.value.code == 2
    assert "--devices must be one number or more" in " ".join(capsys.readouterr().err.split())
