"""compile_tpu: its errors, and one small network compiled for TPUs.

Only the last test needs a TPU compiler.
"""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from helpers.paths import ROOT

from jaxmusic.aot import compiling, libtpu, session
from jaxmusic.aot.chips import read_topology
from jaxmusic.aot.compiling import (
    Corpus,
    TooLarge,
    check_for_tpus,
    compile_training,
    read_error,
)
from jaxmusic.aot.session import describe_corpus
from jaxmusic.commands import compile_tpu
from jaxmusic.config import PRESETS, ConfigError
from jaxmusic.distributed.mesh import make_mesh
from jaxmusic.nn.pallas.kernel import PallasError


@pytest.mark.parametrize("name", ["v5e", "v9:2x2", "v5e:2x2x1", "v5p:2x2", "v5e:0x2", "bogus"])
def test_an_unknown_topology_is_told_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--topology {name}: .*v5e:16x16.*v5p:2x2x1") as raised:
        read_topology(name)
    assert raised.value.exit_code == 2


def test_without_libtpu_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libtpu, "find_spec", lambda name: None)
    with pytest.raises(libtpu.CompilerError, match=r"libtpu.* pip install -e '.\[tpu\]'") as raised:
        compile_tpu.main("compile_tpu.py", ["classic", "--topology", "v5e:2x4"])
    assert raised.value.exit_code == 1
    with pytest.raises(ConfigError, match="no preset clasic"):
        compile_tpu.main("compile_tpu.py", ["clasic"])


def test_settings_that_no_tpu_has() -> None:
    classic = PRESETS["classic"]
    assert check_for_tpus(classic).run.recurrence == "scan"
    for run, words in (
        (replace(classic.run, recurrence="cpu"), "--recurrence cpu"),
        (replace(classic.run, devices=4), "--devices 4"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_for_tpus(replace(classic, run=run))


def test_where_the_corpus_lies_is_decided_as_in_training() -> None:
    classic = PRESETS["classic"]
    small = describe_corpus(classic, tokens=None, vocabulary_size=None)
    assert small == Corpus(57_177, 359, on_devices=True, steps_per_dispatch=64)
    large = describe_corpus(classic, tokens=2**30, vocabulary_size=2**17)
    assert (large.on_devices, large.steps_per_dispatch, large.dtype) == (False, 1, jax.numpy.uint32)
    for sizes, words in (((100, 359), "--tokens is 100"), ((101, 0), "--vocabulary-size is 0")):
        with pytest.raises(ConfigError, match=words):
            describe_corpus(classic, tokens=sizes[0], vocabulary_size=sizes[1])


@pytest.mark.raises_at("jaxmusic/aot/compiling.py:read_error")
def test_the_compilers_report_of_memory() -> None:
    too_large = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (40.05G) exceeds available HBM (15.75G). HLO module: jit."
    )
    assert read_error(RuntimeError(too_large)) == TooLarge("40.05G", "15.75G")
    vmem = (
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space "
        "vmem. Used 18.32M of 16.00M vmem. Exceeded vmem capacity by 2.32M."
    )
    with pytest.raises(libtpu.CompilerError, match="Used 18.32M of 16.00M vmem.*--recurrence scan"):
        read_error(RuntimeError(vmem))
    with pytest.raises(RuntimeError, match="INTERNAL"):
        read_error(RuntimeError("INTERNAL: else"))


@pytest.mark.raises_at("jaxmusic/aot/session.py:run_report")
def test_a_batch_that_does_not_fit_is_told_and_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    too_large = TooLarge("40.05G", "15.75G")
    monkeypatch.setattr(session, "make_topology_mesh", lambda topology: None)
    monkeypatch.setattr(session, "compile_training", lambda *settings: too_large)
    monkeypatch.setattr(session, "version", lambda package: "1.0")
    path = tmp_path / "report.json"
    with pytest.raises(libtpu.CompilerError, match="40.05G of .*15.75G: give a --batch-size below"):
        session.run_report(
            "classic", PRESETS["classic"], ["v5e:2x4"],
            tokens=None, vocabulary_size=None, json_path=str(path),
        )  # fmt: skip
    assert "no: 40.05G of 15.75G" in capsys.readouterr().out
    assert json.loads(path.read_text())["topologies"][0]["fits"] is False


@pytest.mark.raises_at("jaxmusic/aot/compiling.py:make_topology_mesh")
def test_a_topology_that_libtpu_does_not_know_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = "jax.experimental.topologies.get_topology_desc"
    monkeypatch.setattr(asked, refuse("INVALID_ARGUMENT: v5e:3x5"))
    with pytest.raises(ConfigError, match="--topology v5e:3x5: .*give one of"):
        compiling.make_topology_mesh(read_topology("v5e:3x5"))


class Unreadable:
    """A program that compiles, and whose text can't be had."""

    def lower(self, *arguments: object) -> "Unreadable":
        return self

    def compile(self) -> "Unreadable":
        return self

    def memory_analysis(self) -> SimpleNamespace:
        names = ("argument", "output", "alias", "temp")
        sizes = {f"{name}_size_in_bytes": 0 for name in names}
        return SimpleNamespace(**sizes, generated_code_size_in_bytes=0)

    def as_text(self) -> str:
        raise jax.errors.JaxRuntimeError("INTERNAL: another version")


@pytest.mark.raises_at("jaxmusic/aot/compiling.py:compile_training")
def test_a_program_that_cannot_be_read_back_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "training_program", lambda *given, **named: Unreadable())
    with pytest.raises(libtpu.CompilerError, match="name another topology, or take other versions"):
        compile_training(PRESETS["quick"], Corpus(500, 59, True, 4), make_mesh(1))


def refuse(words: str) -> Any:
    def raise_it(*given: Any, **named: Any) -> None:
        raise jax.errors.JaxRuntimeError(words)

    return raise_it


def test_layers_too_large_for_the_kernel_are_refused() -> None:
    config = PRESETS["classic"]
    config = replace(
        config,
        model=replace(config.model, hidden_size=1024),
        run=replace(config.run, recurrence="pallas"),
    )
    with pytest.raises(PallasError, match="1024 units.*--recurrence scan"):
        compile_training(config, Corpus(500, 59, True, 4), make_mesh(1))


# With the compiler for TPUs.


def test_a_small_network_compiled_for_one_chip_and_for_four(tmp_path: Path) -> None:
    if find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed (Linux x86-64 only)")
    path = tmp_path / "report.json"
    ran = subprocess.run(
        [
            sys.executable, str(ROOT / "scripts" / "compile_tpu.py"), "classic",
            "--topology", "v5e:1x1", "v5e:2x2", "--hidden-size", "128", "--layers", "2",
            "--window", "10", "--batch-size", "8", "--precision", "bf16", "--json", str(path),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "v5e:2x2: compiling for 4 chips" in ran.stderr
    report: dict[str, Any] = json.loads(path.read_text())
    one, four = report["topologies"]
    assert (one["batch_size"], four["batch_size"]) == (8, 32)
    assert one["collectives"] == []
    assert [each["in_time_loop"] for each in four["collectives"]].count(True) == 0
    for column in (one, four):
        of_model = column["step"]["flop"] * column["chips"] / column["model_flop"]
        assert of_model == pytest.approx(1, rel=0.02)
        assert column["step"]["rounds"] == 2 * 2 * 10  # layers, there and back, steps of time
        assert column["estimate"]["by_cycles"] >= column["estimate"]["at_best"] > 0
