"""What instructions of a compiled program cost: products, memory traffic, cycles."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from jaxmusic.aot.hlo import (
    COLLECTIVES,
    Computation,
    Executed,
    Instruction,
    Module,
    Shape,
    executed,
)

# A float32 product of precision `highest` is six bfloat16 products of its operands' parts, one
# of `high` three: so XLA and Pallas compute them, the units multiply bfloat16 alone.
PASSES = {"highest": 6, "high": 3}
KERNEL = 'custom_call_target="tpu_custom_call"'
# These name or view what is there. What a loop does is counted inside it.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "partition-id",
    "replica-id", "after-all", "opt-barrier", "copy-done", "slice-done", "async-done",
    "async-update",
}  # fmt: skip
PREFETCHES = ("copy-start", "slice-start", "async-start")  # run beside the instructions after them


class Cost(NamedTuple):
    """Cost of one execution of an instruction."""

    flop: int  # of products, 2 m n k each
    unit_flop: int  # what the matrix units compute for it: a float32 product several times
    bytes: int  # read from and written to HBM
    cycles: int  # by the compiler's own model; 0 where it has none


@dataclass(frozen=True)
class Collective:
    """Collectives of one kind and size."""

    kind: str
    count: int  # a step, rounds of loops counted
    bytes: int  # of each, on one device
    arrays: int  # that each has in it
    in_time_loop: bool
    in_step: bool  # else once a dispatch


@dataclass(frozen=True)
class Timed:
    """An instruction of a step: its cost, and its executions per step."""

    cost: Cost
    times: int
    in_time_loop: bool
    prefetch: bool
    kernel: bool


@dataclass(frozen=True)
class Work:
    """The work of one device in one training step."""

    timed: tuple[Timed, ...]
    collectives: tuple[Collective, ...]
    rounds: int  # of the loops over time, one after the other
    kernels: int  # calls of Pallas kernels

    def total(self, name: str) -> int:
        """The sum of a cost over a step."""
        return sum(each.times * int(getattr(each.cost, name)) for each in self.timed)


def work_of(module: Module, *, kernel_passes: int) -> Work:
    """Add up the work of a step in a program whose outermost loop runs over steps.

    Args:
        module: the program.
        kernel_passes: products that the matrix units compute for one of a Pallas kernel's,
            which doesn't log: 6 in float32.
    """
    timed, rounds, kernels = [], {}, 0
    collectives: dict[tuple[str, int, int, bool, bool], int] = {}
    for each in executed(module):
        instruction = each.instruction
        in_step, in_time_loop = len(each.loops) > 0, len(each.loops) > 1
        kind = collective_kind(instruction)
        if kind is not None:
            shapes = _moved(each)
            size = sum(shape.bytes for shape in shapes)
            key = (kind, size, len(shapes), in_time_loop, in_step)
            collectives[key] = collectives.get(key, 0) + each.times
        elif in_step and instruction.opcode not in FREE:
            kernel = KERNEL in instruction.attributes
            kernels += each.times * kernel
            cost = cost_of(module, each.computation, instruction, kernel_passes=kernel_passes)
            prefetch = instruction.opcode in PREFETCHES
            timed.append(Timed(cost, each.times, in_time_loop, prefetch, kernel))
        if in_time_loop:
            rounds[each.loops] = each.times
    listed = [
        Collective(kind, count, size, arrays, in_time_loop, in_step)
        for (kind, size, arrays, in_time_loop, in_step), count in collectives.items()
    ]
    listed.sort(key=lambda each: -each.bytes)
    return Work(tuple(timed), tuple(listed), sum(rounds.values()), kernels)


def collective_kind(instruction: Instruction) -> str | None:
    """The kind of a collective, such as `all-reduce`.

    None for other instructions, and for the end of an asynchronous collective.
    """
    kind = instruction.opcode.removesuffix("-start")
    return kind if kind in COLLECTIVES else None


def cost_of(
    module: Module, computation: Computation, instruction: Instruction, *, kernel_passes: int
) -> Cost:
    """The cost of one instruction; a fusion has that of its contents."""
    cycles = re.search(r'"estimated_cycles":"(\d+)"', instruction.attributes)
    if KERNEL in instruction.attributes:
        # The kernel declares its products to the compiler; its reads and writes are counted here.
        # (Its own estimate of that has also what lies in VMEM before and after.)
        estimate = re.search(r'"flops":"(\d+)"', instruction.attributes)
        flop = 0 if estimate is None else int(estimate[1])
        unit_flop = kernel_passes * flop
    else:
        flop, unit_flop = _products(module, computation, instruction)
    moved = _traffic(module, computation, instruction)
    return Cost(flop, unit_flop, moved, 0 if cycles is None else int(cycles[1]))


def _moved(each: Executed) -> tuple[Shape, ...]:
    """The operands of a collective. (The result of an asynchronous start has results too.)"""
    return tuple(
        shape
        for name in each.instruction.operands
        for shape in each.computation.by_name[name].shapes
    )


# Products.


def _products(
    module: Module, computation: Computation, instruction: Instruction
) -> tuple[int, int]:
    if instruction.opcode == "fusion":
        inside = module.computations[instruction.called("calls") or ""]
        parts = [_products(module, inside, each) for each in inside.instructions]
        return sum(flop for flop, _ in parts), sum(passes for _, passes in parts)
    summed: Fraction | int = 1
    if instruction.opcode == "dot":
        left = computation.operand(instruction, 0).shapes[0]
        for axis in _numbers(instruction, "lhs_contracting_dims"):
            summed *= left.dimensions[axis]
    elif instruction.opcode == "convolution":
        summed = _summed_by_convolution(computation, instruction)
    else:
        return 0, 0
    flop = round(2 * instruction.shapes[0].elements * summed)
    precision = re.search(r"operand_precision=\{(\w+)", instruction.attributes)
    is_float32 = computation.operand(instruction, 0).shapes[0].dtype == "f32"
    passes = PASSES.get(precision[1], 1) if precision is not None and is_float32 else 1
    return flop, passes * flop


def _summed_by_convolution(computation: Computation, instruction: Instruction) -> Fraction:
    """The average number of products summed into an element of the result.

    The compiler for TPUs writes products as convolutions: what is summed are the kernel's input
    features (i) and, along each axis that is a digit, those places of its window that meet an
    element. Of a product of many matrices, a pair each, the window has room for all and meets one:
    between the elements are holes (`lhs_dilate`), and around them is nothing (`pad`).
    """
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    assert labels is not None, instruction
    shapes = (*(computation.operand(instruction, number).shapes[0] for number in (0, 1)),
              instruction.shapes[0])  # fmt: skip
    taken, kernel, made = (
        dict(zip(names, shape.dimensions, strict=True))
        for names, shape in zip(labels.groups(), shapes, strict=True)
    )
    window = dict(re.findall(r"(\w+)=([\w-]+)", _window(instruction)))

    def each(attribute: str, axis: int, otherwise: str) -> str:
        return window[attribute].split("x")[axis] if attribute in window else otherwise

    summed = Fraction(kernel["i"])
    for axis, name in enumerate(sorted(filter(str.isdigit, kernel))):
        stride, holes, apart = (
            int(each(attribute, axis, "1")) for attribute in ("stride", "lhs_dilate", "rhs_dilate")
        )
        before = int(each("pad", axis, "0_0").split("_")[0])
        places = (
            place * stride + tap * apart - before
            for place in range(made[name])
            for tap in range(kernel[name])
        )
        met = sum(0 <= at <= (taken[name] - 1) * holes and at % holes == 0 for at in places)
        summed *= Fraction(met, made[name])
    return summed


def _window(instruction: Instruction) -> str:
    found = re.search(r"window=\{([^}]*)\}", instruction.attributes)
    return found[1] if found else ""


def _numbers(instruction: Instruction, attribute: str) -> list[int]:
    found = re.search(rf"{attribute}=\{{([\d,]*)\}}", instruction.attributes)
    return [int(number) for number in found[1].split(",") if number] if found else []


# Memory.


def _traffic(module: Module, computation: Computation, instruction: Instruction) -> int:
    """Bytes read from and written to HBM, for operands and results that don't lie on the chip."""
    if instruction.opcode in FREE:
        return 0
    if instruction.opcode == "custom-call" and KERNEL not in instruction.attributes:
        return 0  # the compiler's own marks: buffers set aside, and such
    if instruction.opcode in PREFETCHES:
        return _prefetched(instruction)
    inside = None
    if instruction.opcode == "fusion":
        inside = module.computations[instruction.called("calls") or ""]
    total = 0
    for number, name in enumerate(instruction.operands):
        source = computation.by_name[name]
        if len(source.shapes) != 1 or source.shapes[0].space:
            continue
        if inside is None:
            total += min(source.shapes[0].bytes, _taken(instruction, number, source.shapes[0]))
        else:
            total += _read(module, inside, number)
    written = [shape.bytes for shape in instruction.shapes if not shape.space]
    if inside is not None:
        roots = _results(inside)
        if len(roots) == len(instruction.shapes):
            written = [
                _written(module, inside, root)
                for root, shape in zip(roots, instruction.shapes, strict=True)
                if not shape.space
            ]
    elif instruction.opcode == "dynamic-update-slice":
        written = [computation.operand(instruction, 1).shapes[0].bytes]
    return total + sum(written)


def _prefetched(instruction: Instruction) -> int:
    """Bytes of an asynchronous copy: its size, once for each end of it in HBM."""
    arrays = [shape for shape in instruction.shapes if shape.dimensions]
    piece = min((shape.bytes for shape in arrays), default=0)
    return piece * sum(shape.space == 0 for shape in arrays[:2])


def _taken(instruction: Instruction, number: int, shape: Shape) -> int:
    """Bytes that an instruction reads from one of its operands."""
    if number == 0 and instruction.opcode in ("dynamic-slice", "slice", "gather"):
        return sum(result.bytes for result in instruction.shapes)
    if number == 0 and instruction.opcode == "dynamic-update-slice":
        return 0  # in place: only the piece is written
    return shape.bytes


def _read(module: Module, computation: Computation, number: int) -> int:
    """Bytes that a fusion reads from a parameter: the slices, where it only slices it."""
    parameter = computation.parameters[number]
    whole = parameter.shapes[0].bytes
    total = 0
    for user, place in computation.users(parameter.name):
        total += _read_by(module, computation, user, place, whole)
    return min(whole, total)


def _read_by(
    module: Module, computation: Computation, user: Instruction, place: int, whole: int
) -> int:
    if user.opcode == "fusion":
        return _read(module, module.computations[user.called("calls") or ""], place)
    if user.opcode == "bitcast":
        users = computation.users(user.name)
        return sum(_read_by(module, computation, each, at, whole) for each, at in users)
    return _taken(user, place, Shape("u8", (whole,)))


def _results(computation: Computation) -> list[Instruction]:
    root = computation.root
    if root.opcode != "tuple":
        return [root]
    return [computation.by_name[name] for name in root.operands]


def _written(module: Module, computation: Computation, result: Instruction) -> int:
    """Bytes that a fusion writes to a result: the slice, where it updates it in place."""
    while result.opcode == "bitcast":
        result = computation.operand(result, 0)
    if result.opcode == "dynamic-update-slice":
        return computation.operand(result, 1).shapes[0].bytes
    if result.opcode == "fusion":
        inside = module.computations[result.called("calls") or ""]
        roots = _results(inside)
        if len(roots) == 1:
            return _written(module, inside, roots[0])
    return sum(shape.bytes for shape in result.shapes)
