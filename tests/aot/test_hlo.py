"""Compiled programs as text: shapes, loops, and the work that they do."""

from dataclasses import replace

import jax
import pytest
from helpers.hlo_programs import PROGRAM

from jaxmusic.aot.hlo import HloError, executed, read_module, read_shapes, rounds_of
from jaxmusic.aot.work import Collective, work_of
from jaxmusic.benchmarks.workload import Workload, training_flop
from jaxmusic.config import PRESETS
from jaxmusic.distributed.mesh import make_mesh
from jaxmusic.training.programs import training_arguments, training_program


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
