"""The report as a table and as JSON."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxmusic.aot.chips import Topology
from jaxmusic.aot.compiling import Compiled, Memory, TooLarge
from jaxmusic.aot.roofline import ASSUMPTIONS, Estimate
from jaxmusic.aot.work import Collective, Work
from jaxmusic.benchmarks.results.table import three_digits


@dataclass(frozen=True)
class Column:
    """One topology: a column of the table."""

    topology: Topology
    batch: int  # windows of a step, over all chips
    model_flop: int  # of a step, over all chips: the network's products, by arithmetic
    compiled: Compiled | TooLarge
    work: Work | None = None  # these two: of what fits
    estimate: Estimate | None = None

    @property
    def memory(self) -> Memory | None:
        """Memory of one chip, in words."""
        return self.compiled.memory if isinstance(self.compiled, Compiled) else None

    def windows_a_second(self, by_cycles: bool) -> float | None:
        """Windows a second by the model."""
        if self.estimate is None:
            return None
        return self.estimate.windows_a_second(self.batch)[by_cycles]


Cell = Callable[[Column], str | None]
LARGE = 2**19  # bytes of a collective: from here on each is listed


def table_lines(columns: Sequence[Column]) -> list[str]:
    """The lines of the table, with a column for each topology."""
    first = columns[0]
    rows: list[tuple[str, Cell | None]] = [
        ("chips", lambda c: f"{c.topology.chips:,}"),
        ("windows a step (--batch-size)", lambda c: f"{c.batch:,}"),
        ("windows a chip", lambda c: f"{c.batch // c.topology.chips:,}"),
        ("compiled in, s", lambda c: _number(c.compiled, "seconds")),
        ("memory a chip, MiB", None),
        ("  fits", _fits),
        ("  HBM by the datasheet", lambda c: f"{c.topology.chip.hbm_bytes / 2**20:,.1f}"),
        ("  in all", lambda c: _mebibytes(c, "total")),
        ("  arguments", lambda c: _mebibytes(c, "arguments")),
        ("  outputs apart from them", lambda c: _mebibytes(c, "outputs")),
        ("  temporaries", lambda c: _mebibytes(c, "temporaries")),
        ("  program", lambda c: _mebibytes(c, "program")),
        ("a step on a chip", None),
        ("  GFLOP of products", lambda c: _total(c, "flop", 1e9)),
        ("  to the network's own", _to_model),
        ("  MB through HBM", lambda c: _total(c, "bytes", 1e6)),
        ("  rounds of time loops", lambda c: _number(c.work, "rounds")),
        ("  Pallas kernels", lambda c: _number(c.work, "kernels")),
        ("model at best, ms", None),
        ("  products at the peak", lambda c: _milliseconds(c, "products")),
        ("  traffic at HBM's rate", lambda c: _milliseconds(c, "memory")),
        ("  between chips", lambda c: _milliseconds(c, "collectives")),
        ("  step", lambda c: _milliseconds(c, "at_best")),
        ("    of it in time loops", lambda c: _milliseconds(c, "at_best_in_time_loops")),
        ("  windows/s", lambda c: _rate(c, by_cycles=False)),
        ("  scaling", lambda c: _scaling(first, c, by_cycles=False)),
        ("model by cycles, ms", None),
        ("  step", lambda c: _bound(c, ">", _milliseconds(c, "by_cycles"))),
        ("    of it in time loops", lambda c: _milliseconds(c, "by_cycles_in_time_loops")),
        ("    a round of one, us", _round),
        ("  windows/s", lambda c: _bound(c, "<", _rate(c, by_cycles=True))),
        ("  scaling", lambda c: _scaling(first, c, by_cycles=True)),
    ]
    table = [["", *(column.topology.name for column in columns)]]
    for label, cell in rows:
        cells = ["" if cell is None else cell(column) or "-" for column in columns]
        table.append([label, *cells])
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    return [*lines, "", "Between the chips:", *collective_lines(columns)]


def collective_lines(columns: Sequence[Column]) -> list[str]:
    """A line for each distinct set of collectives, naming its topologies."""
    names_by_text: dict[str, list[str]] = {}
    for column in columns:
        if column.work is not None:
            text = _collectives(column.work.collectives)
            names_by_text.setdefault(text, []).append(column.topology.name)
    return [f"  {', '.join(names)}: {text}" for text, names in names_by_text.items()]


def assumption_lines() -> list[str]:
    """The assumptions of the roofline model."""
    return ["How to read the models:", *(f"- {words}" for words in ASSUMPTIONS)]


def to_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Every number of the table; times in seconds, sizes in bytes."""
    documents = []
    for column in columns:
        document: dict[str, Any] = {
            "topology": column.topology.name,
            "chips": column.topology.chips,
            "chip": dataclasses.asdict(column.topology.chip) | {"peak": column.topology.chip.peak},
            "links_at_a_corner": column.topology.links,
            "hops": column.topology.hops,
            "batch_size": column.batch,
            "model_flop": column.model_flop,
            "fits": isinstance(column.compiled, Compiled),
        }
        if isinstance(column.compiled, TooLarge):
            document["too_large"] = dataclasses.asdict(column.compiled)
        else:
            memory = column.compiled.memory
            document["compile_seconds"] = column.compiled.seconds
            document["memory"] = dataclasses.asdict(memory) | {"total": memory.total}
        if column.work is not None and column.estimate is not None:
            document["step"] = {
                name: column.work.total(name) for name in ("flop", "unit_flop", "bytes", "cycles")
            }
            document["step"] |= {"rounds": column.work.rounds, "kernels": column.work.kernels}
            document["collectives"] = [dataclasses.asdict(each) for each in column.work.collectives]
            document["estimate"] = dataclasses.asdict(column.estimate)
            document["windows_a_second"] = {
                "at_best": column.windows_a_second(by_cycles=False),
                "by_cycles": column.windows_a_second(by_cycles=True),
            }
            document["scaling"] = {
                "at_best": scaling(columns[0], column, by_cycles=False),
                "by_cycles": scaling(columns[0], column, by_cycles=True),
            }
        documents.append(document)
    return documents


def scaling(first: Column, column: Column, *, by_cycles: bool) -> float | None:
    """Windows a second per chip, relative to the first topology."""
    ours, theirs = column.windows_a_second(by_cycles), first.windows_a_second(by_cycles)
    if ours is None or theirs is None:
        return None
    return ours / column.topology.chips / (theirs / first.topology.chips)


def _fits(column: Column) -> str:
    if isinstance(column.compiled, TooLarge):
        return f"no: {column.compiled.needs} of {column.compiled.has}"
    return "yes"


def _to_model(column: Column) -> str | None:
    if column.work is None:
        return None
    return f"{column.work.total('flop') * column.topology.chips / column.model_flop:.3f}"


def _rate(column: Column, *, by_cycles: bool) -> str | None:
    rate = column.windows_a_second(by_cycles)
    return None if rate is None else f"{rate:,.0f}"


def _scaling(first: Column, column: Column, *, by_cycles: bool) -> str | None:
    share = scaling(first, column, by_cycles=by_cycles)
    return None if share is None else f"{share:.1%}"


def _round(column: Column) -> str | None:
    """Mean seconds of one time step in the forward and backward loops."""
    seconds = None if column.estimate is None else column.estimate.by_cycles_in_time_loops
    if column.work is None or not column.work.rounds or seconds is None:
        return None
    return three_digits(1e6 * seconds / column.work.rounds)


def _bound(column: Column, sign: str, cell: str | None) -> str | None:
    """A lower or upper bound where Pallas kernels have unknown cycles."""
    has_kernels = column.work is not None and column.work.kernels > 0
    return f"{sign} {cell}" if has_kernels and cell is not None else cell


def _number(holder: Any, name: str) -> str | None:
    value = getattr(holder, name, None)
    return None if value is None else f"{value:,.0f}"


def _total(column: Column, name: str, unit: float) -> str | None:
    return None if column.work is None else three_digits(column.work.total(name) / unit)


def _milliseconds(column: Column, name: str) -> str | None:
    seconds = getattr(column.estimate, name, None)
    return None if seconds is None else three_digits(1000 * seconds)


def _mebibytes(column: Column, name: str) -> str | None:
    count = getattr(column.memory, name, None)
    return None if count is None else f"{count / 2**20:,.1f}"


def _collectives(collectives: Sequence[Collective]) -> str:
    if not collectives:
        return "nothing moves between chips"
    kinds = []
    for kind in dict.fromkeys(each.kind for each in collectives):
        for when, in_step in (("a step", True), ("a dispatch", False)):
            same = [each for each in collectives if (each.kind, each.in_step) == (kind, in_step)]
            if same:
                count = sum(each.count for each in same)
                kinds.append(f"{count} x {kind} {when} ({_sizes(same)})")
    inside = sum(each.count for each in collectives if each.in_time_loop)
    return "; ".join(kinds) + f"; {inside or 'none'} inside a time loop"


def _sizes(collectives: Sequence[Collective]) -> str:
    """Sizes of the large collectives, and the total of the small ones."""
    words = [
        f"{each.count} of {each.bytes / 2**20:,.1f} MiB"
        for each in collectives
        if each.bytes >= LARGE
    ]
    small = [each for each in collectives if each.bytes < LARGE]
    if small:
        least, most = (pick(each.bytes for each in small) / 2**10 for pick in (min, max))
        words.append(f"{sum(each.count for each in small)} of {least:,.1f} to {most:,.1f} KiB")
    return ", ".join(words)
