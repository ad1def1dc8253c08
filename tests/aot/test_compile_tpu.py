"""compile_tpu.py: how it reads a compiled program, its arithmetic, its errors.

No TPU's compiler is needed but for the last test.
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
    Compiled,
    Corpus,
    Memory,
    TooLarge,
    check_for_tpus,
    compile_training,
    read_error,
)
from jaxmusic.aot.hlo import HloError, executed, read_module, read_shapes, rounds_of
from jaxmusic.aot.report import Column, collective_lines, scaling, table_lines, to_json
from jaxmusic.aot.roofline import HOP_SECONDS, collective_seconds, estimate
from jaxmusic.aot.session import describe_corpus
from jaxmusic.aot.work import Collective, Cost, Timed, Work, work_of
from jaxmusic.benchmarks.workload import Workload, training_flop
from jaxmusic.commands import compile_tpu
from jaxmusic.config import PRESETS, ConfigError
from jaxmusic.distributed.mesh import make_mesh
from jaxmusic.nn.pallas.kernel import PallasError
from jaxmusic.training.programs import training_arguments, training_program

# A loop over steps, of which nobody knows the number; in it one of 7 rounds, a kernel, and sums.
PROGRAM = """\
HloModule small, is_scheduled=true

%cut (p0: f32[7,4,8], p1: s32[]) -> f32[4,8] {
  %p0 = f32[7,4,8]{2,1,0:T(8,128)} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %piece = f32[4,8]{1,0} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,4,8}
}

%round (state: (s32[], f32[4,8], f32[7,4,8])) -> (s32[], f32[4,8], f32[7,4,8]) {
  %state = (s32[], f32[4,8]{1,0:T(8,128)S(1)}, f32[7,4,8]{2,1,0:T(8,128)}) parameter(0)
  %one = s32[] constant(1)
  %i = s32[] get-tuple-element(%state), index=0
  %h = f32[4,8]{1,0:T(8,128)S(1)} get-tuple-element(%state), index=1
  %all = f32[7,4,8]{2,1,0:T(8,128)} get-tuple-element(%state), index=2
  %x = f32[4,8]{1,0:T(8,128)S(1)} fusion(%all, %i), kind=kLoop, calls=%cut, backend_config={"estimated_cycles":"50"}
  %w = f32[8,8]{1,0:T(8,128)S(1)} constant({...})
  %z = f32[4,8]{1,0:T(8,128)S(1)} convolution(%x, %w), dim_labels=bf_io->bf, operand_precision={highest,highest}
  %next = s32[] add(%i, %one)
  ROOT %after = (s32[], f32[4,8]{1,0:T(8,128)S(1)}, /*index=2*/f32[7,4,8]{2,1,0:T(8,128)}) tuple(%next, %z, %all)
}

%round_limit (state: (s32[], f32[4,8], f32[7,4,8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(7)
  %state.1 = (s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  ROOT %less = pred[] compare(%i.1, %limit), direction=LT
}

%step (s: (s32[], s32[], f32[4,8], f32[7,4,8])) -> (s32[], s32[], f32[4,8], f32[7,4,8]) {
  %s = (s32[], s32[], f32[4,8]{1,0:S(1)}, f32[7,4,8]{2,1,0}) parameter(0)
  %number = s32[] get-tuple-element(%s), index=0
  %count = s32[] get-tuple-element(%s), index=1
  %h.1 = f32[4,8]{1,0:S(1)} get-tuple-element(%s), index=2
  %data = f32[7,4,8]{2,1,0} get-tuple-element(%s), index=3
  %start = s32[] constant(0)
  %before = (s32[], f32[4,8]{1,0:S(1)}, f32[7,4,8]{2,1,0}) tuple(%start, %h.1, %data)
  %loop = (s32[], f32[4,8]{1,0:S(1)}, f32[7,4,8]{2,1,0}) while(%before), condition=%round_limit, body=%round
  %h.2 = f32[4,8]{1,0:S(1)} get-tuple-element(%loop), index=1
  %k = f32[4,8]{1,0} custom-call(%h.2), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"T(","cost_estimate":{"flops":"1000","bytes_accessed":"256"}}}
  %sum = (f32[4,8]{1,0}, f32[]) all-reduce(%k, %start), replica_groups={{0,1}}, to_apply=%add
  %h.3 = f32[4,8]{1,0} get-tuple-element(%sum), index=0
  ROOT %done = (s32[], s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) tuple(%number, %count, %h.3, %data)
}

%step_limit (s: (s32[], s32[], f32[4,8], f32[7,4,8])) -> pred[] {
  %s.1 = (s32[], s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) parameter(0)
  %number.1 = s32[] get-tuple-element(%s.1), index=0
  %count.1 = s32[] get-tuple-element(%s.1), index=1
  ROOT %more = pred[] compare(%number.1, %count.1), direction=LT
}

ENTRY %main (count: s32[], data: f32[7,4,8]) -> f32[4,8] {
  %count.2 = s32[] parameter(0)
  %data.1 = f32[7,4,8]{2,1,0} parameter(1)
  %first = s32[] constant(0)
  %h.0 = f32[4,8]{1,0} constant({...})
  %gathered = f32[4,8]{1,0} all-gather(%h.0), dimensions={0}
  %start.1 = (s32[], s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) tuple(%first, %count.2, %gathered, %data.1)
  %steps = (s32[], s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) while(%start.1), condition=%step_limit, body=%step
  ROOT %result = f32[4,8]{1,0} get-tuple-element(%steps), index=2
}
"""  # noqa: E501


def work(*timed: Timed, collectives: tuple[Collective, ...] = (), kernels: int = 0) -> Work:
    return Work(timed, collectives, rounds=100, kernels=kernels)


# Reading.


def test_shapes_have_a_size_and_a_place() -> None:
    tuple_of = "(bf16[3,5]{1,0:T(8,128)(2,1)S(1)}, f32[]{:T(128)}, /*index=2*/pred[8]{0})"
    matrix, number, flags = read_shapes(tuple_of)
    assert (matrix.dimensions, matrix.bytes, matrix.space) == ((3, 5), 30, 1)
    assert (number.dimensions, number.bytes, number.space) == ((), 4, 0)
    assert (flags.bytes, flags.space) == (8, 0)


def test_loops_are_counted_by_their_rounds() -> None:
    module = read_module(PROGRAM)
    step = module.computations["step"]
    assert rounds_of(module, step, step.by_name["loop"]) == 7
    assert rounds_of(module, module.entry, module.entry.by_name["steps"]) is None
    runs = {each.instruction.name: (each.times, each.loops) for each in executed(module)}
    assert runs["z"] == (7, ("steps", "loop"))
    assert runs["k"] == (1, ("steps",))
    assert runs["gathered"] == (1, ())


def test_the_limit_may_lie_in_what_the_loop_is_given() -> None:
    given = PROGRAM.replace("%limit = s32[]{:T(128)} constant(7)", "").replace(
        "compare(%i.1, %limit)", "compare(%i.1, %i.2)"
    )
    given = given.replace(
        "  ROOT %less",
        "  %i.2 = s32[] get-tuple-element(%state.1), index=3\n  ROOT %less",
    )
    given = given.replace("tuple(%start, %h.1, %data)", "tuple(%start, %h.1, %data, %copied)")
    given = given.replace(
        "  %before = ", "  %nine = s32[] constant(9)\n  %copied = s32[] copy(%nine)\n  %before = "
    )
    module = read_module(given)
    step = module.computations["step"]
    assert rounds_of(module, step, step.by_name["loop"]) == 9


@pytest.mark.raises_at("jaxmusic/aot/hlo.py:read_module")
@pytest.mark.raises_at("jaxmusic/aot/hlo.py:_executed")
def test_a_loop_inside_a_step_must_be_known() -> None:
    unknown = PROGRAM.replace("compare(%i.1, %limit), direction=LT", "and(%i.1, %limit)")
    with pytest.raises(HloError, match="how often the loop loop runs"):
        list(executed(read_module(unknown)))
    with pytest.raises(HloError, match="no ENTRY"):
        read_module("")


def test_the_work_of_a_step() -> None:
    found = work_of(read_module(PROGRAM), kernel_passes=6)
    product = 7 * 2 * 4 * 8 * 8
    assert found.total("flop") == product + 1000
    assert found.total("unit_flop") == 6 * (product + 1000)  # float32 of the highest precision
    # Of the data a round reads its piece; the product's operands and results lie on the chip;
    # the kernel writes one array; the counters are 4 bytes each, 8 read and 4 written a round.
    pieces, kernel, counters = 7 * 4 * 8 * 4, 4 * 8 * 4, 7 * (4 + 4 + 4 + 4)
    assert found.total("bytes") == pieces + kernel + counters
    assert found.total("cycles") == 7 * 50
    assert (found.rounds, found.kernels) == (7, 1)
    gather, reduce = sorted(found.collectives, key=lambda each: each.kind)
    assert (gather.kind, gather.in_step) == ("all-gather", False)
    assert reduce == Collective("all-reduce", 1, 4 * 8 * 4 + 4, 2, in_time_loop=False, in_step=True)


@pytest.mark.parametrize(
    ("left", "right", "made", "how", "products"),
    [
        ("5,7", "7,9", "5,9", "dim_labels=bf_io->bf", 5 * 7 * 9),
        # The weights' gradient: summed over the window, which is steps of time.
        ("5,100,7", "5,100,9", "1,7,9",
         "window={size=100}, dim_labels=f0b_i0o->0bf", 100 * 7 * 5 * 9),
        # Twelve matrices with twelve, a pair each.
        ("4,3,5,7", "4,3,7,9", "4,3,5,9",
         "window={size=4x3 stride=3x2 lhs_dilate=4x3}, dim_labels=01bf_01io->01bf", 12 * 5 * 7 * 9),
        # What lies outside is nothing: 2, 3 and 2 places of the window meet an element.
        ("3,5,7", "3,7,9", "3,5,9", "window={size=3 pad=1_1}, dim_labels=0bf_0io->0bf",
         7 * 5 * 7 * 9),
    ],
)  # fmt: skip
def test_products_written_as_convolutions(
    left: str, right: str, made: str, how: str, products: int
) -> None:
    there = "f32[4,8]{1,0:T(8,128)S(1)} convolution(%x, %w), dim_labels=bf_io->bf"
    assert PROGRAM.count(there) == 1
    program = PROGRAM.replace(
        "  %z = " + there,
        f"""  %a = f32[{left}] constant({{...}})
  %b = f32[{right}] constant({{...}})
  %z = f32[{made}] convolution(%a, %b), {how}""",
    )
    found = work_of(read_module(program), kernel_passes=6).total("flop")
    assert found == 7 * 2 * products + 1000  # in the loop; and the kernel's


@pytest.mark.parametrize("preset", ["classic", "quick"])
@pytest.mark.slow
def test_products_are_those_of_arithmetic(preset: str) -> None:
    """XLA counts a loop's body once; counted by its rounds, nothing is missing or doubled."""
    config = PRESETS[preset]
    config = replace(
        config,
        data=replace(config.data, window=12),
        model=replace(config.model, hidden_size=32, dense_size=24, layers=2, embedding_size=16),
        train=replace(config.train, batch_size=8),
        run=replace(config.run, recurrence="scan"),
    )
    mesh = make_mesh(1)
    with jax.set_mesh(mesh):
        program = training_program(config, 59, mesh, steps_per_epoch=9)
        lowered = program.lower(*training_arguments(config, 59, mesh, steps=4, tokens=500))
    quickly = {"xla_backend_optimization_level": 0}  # of machine code, which nobody looks at
    found = work_of(read_module(lowered.compile(quickly).as_text()), kernel_passes=6)
    workload = Workload(config.model, config.train, window=12, vocabulary_size=59)
    assert found.total("flop") == pytest.approx(8 * training_flop(workload), rel=0.02)
    assert found.collectives == ()


# Arithmetic.


def test_how_chips_are_connected() -> None:
    corners = {
        name: (read_topology(name).chips, read_topology(name).links, read_topology(name).hops)
        for name in ("v5e:1x1", "v5e:2x4", "v5e:16x16", "v6e:8x16", "v4:4x4x4", "v5p:2x4x4")
    }
    assert corners == {
        "v5e:1x1": (1, 0, 0),
        "v5e:2x4": (8, 2, 1 + 3),
        "v5e:16x16": (256, 4, 8 + 8),
        "v6e:8x16": (128, 3, 7 + 8),
        "v4:4x4x4": (64, 6, 2 + 2 + 2),
        "v5p:2x4x4": (32, 3, 1 + 3 + 3),
    }


def test_an_all_reduce_moves_its_bytes_twice() -> None:
    topology = read_topology("v5e:2x4")
    million = Collective("all-reduce", 1, 10**6, 1, in_time_loop=False, in_step=True)
    moved = 2 * 7 / 8 * 10**6 / (2 * 50e9)
    assert collective_seconds(million, topology) == pytest.approx(moved + 8 * HOP_SECONDS)
    assert collective_seconds(million, read_topology("v5e:1x1")) == 0


def test_an_instruction_takes_the_longer_of_its_times() -> None:
    topology = read_topology("v5e:2x4")
    chip = topology.chip
    product = Timed(Cost(10**9, 6 * 10**9, 8, 0), 100, True, False, False)
    copy = Timed(Cost(0, 0, 10**6, 10**5), 1, False, False, False)
    ahead = Timed(Cost(0, 0, 10**6, 0), 1, False, True, False)
    found = estimate(work(product, copy, ahead), topology)
    assert found.products == pytest.approx(6e11 / 197e12)
    assert found.memory == pytest.approx(2_000_800 / 819e9)
    assert found.at_best_in_time_loops == pytest.approx(found.products)
    assert found.at_best == pytest.approx(found.products + 1e6 / 819e9)
    assert chip.clock == pytest.approx(1.503e9, rel=1e-3)
    assert found.by_cycles == pytest.approx(found.products + 1e5 / 1.503e9, rel=1e-4)
    # What is copied ahead hides no longer than the rest takes.
    alone = estimate(work(ahead), topology)
    assert alone.at_best == alone.memory == pytest.approx(1e6 / 819e9)
    assert estimate(work(product), read_topology("v6e:2x4")).by_cycles is None


def test_the_table_and_the_json_say_the_same() -> None:
    reduce = Collective("all-reduce", 1, 2**20, 3, in_time_loop=False, in_step=True)
    small = Collective("all-reduce", 2, 2**10, 1, in_time_loop=True, in_step=True)
    done = work(Timed(Cost(10**12, 10**12, 10**6, 0), 1, False, False, False))
    done = replace(done, collectives=(reduce, small))
    memory = Memory(2**20, 0, 2**21, 2**20)
    columns = []
    for name in ("v5e:2x4", "v5e:16x16"):
        topology = read_topology(name)
        columns.append(
            Column(topology, 128 * topology.chips, 10**12 * topology.chips,
                   Compiled("", memory, 3.0), done, estimate(done, topology))
        )  # fmt: skip
    full = Column(columns[0].topology, 10**6, 10**12, TooLarge("40.05G", "15.75G"))
    rows = {line.strip().split("  ")[0]: line.split() for line in table_lines([*columns, full])}
    assert rows["fits"][1:] == ["yes", "yes", "no:", "40.05G", "of", "15.75G"]
    assert rows["in all"][-3:] == ["4.0", "4.0", "-"]
    assert rows["to the network's own"][-3:] == ["1.000", "1.000", "-"]
    (between,) = collective_lines([*columns, full])
    assert between == (
        "  v5e:2x4, v5e:16x16: 3 x all-reduce a step (1 of 1.0 MiB, 2 of 1.0 to 1.0 KiB); "
        "2 inside a time loop"
    )
    documents = json.loads(json.dumps(to_json([*columns, full])))
    assert [each["fits"] for each in documents] == [True, True, False]
    share = scaling(columns[0], columns[1], by_cycles=False)
    assert documents[1]["scaling"]["at_best"] == share
    assert share is not None and 0.5 < share < 1.1


# Errors.


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
def test_what_the_compiler_says_of_memory() -> None:
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
def test_a_topology_that_libtpu_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_program_that_cannot_be_read_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
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
