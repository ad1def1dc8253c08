"""The text of a compiled program (HLO): computations, their instructions, and their loops."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from jaxmusic.errors import UserError

COLLECTIVES = (
    "all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute",
    "collective-broadcast", "ragged-all-to-all",
)  # fmt: skip

_HEADER = re.compile(r"^(ENTRY )?%?([^\s(]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([^\s=]+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_SHAPE = re.compile(r"\b(pred|bf16|[sufc]\d+\w*|token)\[([\d,]*)\](?:\{([^}]*)\})?")
_COMMENT = re.compile(r"/\*.*?\*/")
_NAME = re.compile(r"%([^\s,(){}]+)")
_BITS = re.compile(r"\d+")


class HloError(UserError):
    """The HLO text has a form that this parser doesn't support."""


class Shape(NamedTuple):
    """The type of one array."""

    dtype: str
    dimensions: tuple[int, ...]
    space: int = 0  # of memory: 0 is the device's large one (HBM), others are on the chip

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.dimensions:
            count *= size
        return count

    @property
    def bytes(self) -> int:
        """Size in bytes, without the padding of the layout."""
        bits = _BITS.search(self.dtype)
        return self.elements * (8 if bits is None else int(bits[0])) // 8


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]  # of the result; a tuple's arrays one after the other
    operands: tuple[str, ...]  # names, in order
    given: str  # what stands in the parentheses
    attributes: str  # what comes after them
    root: bool

    def called(self, attribute: str) -> str | None:
        """The name of the computation that an attribute names (`calls`, `body`, `to_apply`)."""
        found = re.search(rf"\b{attribute}=%?([^\s,}}]+)", self.attributes)
        return None if found is None else found[1]


@dataclass(frozen=True)
class Computation:
    """A computation: its instructions in execution order."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)

    @cached_property
    def by_name(self) -> dict[str, Instruction]:
        """The instructions by name."""
        return {each.name: each for each in self.instructions}

    @cached_property
    def root(self) -> Instruction:
        """The root instruction, whose result is that of the computation."""
        return next(each for each in self.instructions if each.root)

    @cached_property
    def parameters(self) -> dict[int, Instruction]:
        """The parameters by number."""
        return {int(each.given): each for each in self.instructions if each.opcode == "parameter"}

    def operand(self, instruction: Instruction, number: int) -> Instruction:
        """The instruction that computes an operand."""
        return self.by_name[instruction.operands[number]]

    def users(self, name: str) -> list[tuple[Instruction, int]]:
        """The instructions that use a result, each with the index of that operand."""
        return [
            (each, number)
            for each in self.instructions
            for number, operand in enumerate(each.operands)
            if operand == name
        ]


@dataclass(frozen=True)
class Module:
    """A compiled program."""

    computations: dict[str, Computation]
    entry: Computation


class Executed(NamedTuple):
    """An instruction with the loops around it."""

    instruction: Instruction
    computation: Computation
    times: int  # for each step of training; for each dispatch where no loop is around it
    loops: tuple[str, ...]  # around it, the outermost first: the loop over steps, then others


def read_module(text: str) -> Module:
    """Parse the text of `compiled.as_text()`. Raises HloError if it has no entry computation."""
    computations: dict[str, Computation] = {}
    entry = None
    current = Computation("")
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = Computation(header[2])
            computations[current.name] = current
            if header[1]:
                entry = current
        elif found := _INSTRUCTION.match(line):
            root, name, result, opcode, rest = found.groups()
            given, attributes = _cut_parentheses(_COMMENT.sub("", rest))
            current.instructions.append(
                Instruction(
                    name,
                    opcode,
                    read_shapes(result),
                    tuple(_NAME.findall(given)),
                    given,
                    attributes,
                    root is not None,
                )
            )
    if entry is None:
        raise HloError("The text of the compiled program has no ENTRY: it isn't one.")
    return Module(computations, entry)


def read_shapes(text: str) -> tuple[Shape, ...]:
    """Parse the arrays of a type such as `f32[2,3]{1,0:T(8,128)S(1)}` or a tuple of such."""
    shapes = []
    for dtype, sizes, layout in _SHAPE.findall(text):
        space = re.search(r"S\((\d+)\)", layout)
        dimensions = tuple(int(size) for size in sizes.split(",") if size)
        shapes.append(Shape(dtype, dimensions, 0 if space is None else int(space[1])))
    return tuple(shapes)


def executed(module: Module) -> Iterator[Executed]:
    """List every executed instruction, inside loops and calls too, but not inside fusions.

    The loop over the steps of a dispatch is the one without a constant trip count: its body is
    one step. Loops inside it count with their trip counts, and all branches of a conditional count.

    Raises HloError when another loop has no constant trip count.
    """
    yield from _executed(module, module.entry, 1, ())


def _executed(
    module: Module, computation: Computation, times: int, loops: tuple[str, ...]
) -> Iterator[Executed]:
    for each in computation.instructions:
        if each.opcode == "while":
            rounds = rounds_of(module, computation, each)
            if rounds is None and loops:
                raise HloError(
                    f"In the compiled program it can't be seen how often the loop {each.name} "
                    "runs: this compiler writes programs otherwise than those known here."
                )
            body = module.computations[each.called("body") or ""]
            yield from _executed(module, body, times * (rounds or 1), (*loops, each.name))
        elif each.opcode == "call":
            called = module.computations[each.called("to_apply") or ""]
            yield from _executed(module, called, times, loops)
        elif each.opcode == "conditional":
            for name in _branches(each):
                yield from _executed(module, module.computations[name], times, loops)
        else:
            yield Executed(each, computation, times, loops)


def rounds_of(module: Module, computation: Computation, loop: Instruction) -> int | None:
    """The trip count of a loop; None where it isn't a constant."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(known[1])
    # The compiler for TPUs doesn't log. JAX's loops count up from 0 by 1: so the limit that the
    # condition compares with is the number, there or as the value that the loop is given.
    condition = module.computations[loop.called("condition") or ""]
    compare = condition.root
    if compare.opcode != "compare" or "direction=LT" not in compare.attributes:
        return None
    limit = _origin(condition, condition.operand(compare, 1))
    if limit.opcode == "get-tuple-element":
        place = int(re.search(r"index=(\d+)", limit.attributes)[1])  # type: ignore[index]
        before = computation.operand(loop, 0)
        if before.opcode != "tuple":
            return None
        limit = _origin(computation, computation.operand(before, place))
    return int(limit.given) if limit.opcode == "constant" else None


def _origin(computation: Computation, instruction: Instruction) -> Instruction:
    """The instruction that computes a value, behind any copies of it."""
    while instruction.opcode in ("copy", "bitcast"):
        instruction = computation.operand(instruction, 0)
    return instruction


def _branches(instruction: Instruction) -> list[str]:
    several = re.search(r"branch_computations=\{([^}]*)\}", instruction.attributes)
    if several:
        return _NAME.findall(several[1])
    two = (instruction.called("true_computation"), instruction.called("false_computation"))
    return [name for name in two if name is not None]


def _cut_parentheses(text: str) -> tuple[str, str]:
    """Split text at the matching closing parenthesis: what is inside, and what follows."""
    depth = 1
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[:place], text[place + 1 :]
    return text, ""
