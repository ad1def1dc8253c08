"""A report as text: a table for each group, the ratios, what was left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxmusic.benchmarks.results.machine import machine_line
from jaxmusic.benchmarks.results.measurement import Measurement, Report
from jaxmusic.benchmarks.results.statistics import Summary, pair_ratios, summarise

Cell = Callable[[Measurement, Summary], str | None]


@dataclass(frozen=True)
class Column:
    """One column; a table without any value in it leaves it out."""

    head: str
    cell: Cell


def _rate(work: str, scale: float = 1.0) -> Cell:
    def cell(measurement: Measurement, seconds: Summary) -> str | None:
        if work not in measurement.work:
            return None
        return three_digits(measurement.work[work] / seconds.median / scale)

    return cell


def _extra(name: str, text: Callable[[Any], str]) -> Cell:
    def cell(measurement: Measurement, _: Summary) -> str | None:
        value = measurement.extras.get(name)
        return None if value is None else text(value)

    return cell


def _share_of(peak: str) -> Cell:
    def cell(measurement: Measurement, seconds: Summary) -> str | None:
        flops = measurement.extras.get(peak)
        if not flops:
            return None
        return f"{measurement.work['flop'] / seconds.median / flops:.1%}"

    return cell


def three_digits(value: float) -> str:
    """Format a number with as many decimals as show three digits."""
    for bound, decimals in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < bound:
            return f"{value:.{decimals}f}"
    return f"{value:,.0f}"


def mebibytes(count: float) -> str:
    """Format bytes in MiB."""
    return f"{count / 2**20:,.0f}"


COLUMNS = (
    Column("", lambda m, _: m.name),
    Column("way", _extra("variant", str)),
    Column("masks", _extra("recurrent_masks", str)),
    Column("ms", lambda _, s: three_digits(1000 * s.median)),
    Column("range", lambda _, s: f"{three_digits(1000 * s.low)}-{three_digits(1000 * s.high)}"),
    Column("files/s", _rate("files")),
    Column("MB/s", _rate("MB")),
    Column("windows/s", _rate("windows")),
    Column("tokens/s", _rate("tokens")),
    Column("of 1 device", _extra("of_one_device", "{:.0%}".format)),
    Column("efficiency", _extra("efficiency", "{:.1%}".format)),
    Column("collectives", _extra("collectives_share", "{:.1%}".format)),
    Column("waiting", _extra("waiting_share", "{:.1%}".format)),
    Column("GFLOP/s", _rate("flop", 1e9)),
    Column("MFU", _share_of("peak_flops")),
    Column("of datasheet", _share_of("datasheet_flops")),
    Column("data wait", _extra("data_wait_share", "{:.2%}".format)),
    Column("unreadable", _extra("unreadable", str)),
    Column("compile s", _extra("compile_seconds", "{:.1f}".format)),
    Column("host MiB", _extra("host_peak_bytes", mebibytes)),
    Column("processor s", _extra("processor_seconds", "{:.2f}".format)),
    Column("all processes MiB", _extra("all_peak_bytes", mebibytes)),
    Column("device MiB", _extra("device_peak_bytes", mebibytes)),
)


def report_lines(report: Report) -> list[str]:
    """Return the whole report as lines of text."""
    lines = [machine_line(report.machine)]
    for group, measurements in report.measured().items():
        rounds = max(len(each.samples) for each in measurements)
        lines += ["", f"{group}: median and range of {rounds} rounds, a {measurements[0].unit}"]
        lines += _table(measurements)
        products = measurements[0].extras.get("product_flops")
        if products:
            rates = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in products.items())
            lines.append(f"Peak for MFU: the faster large matrix product, in GFLOP/s: {rates}.")
        lines += ratio_lines(measurements)
    lines += [""] * bool(report.notes)
    lines += report.notes
    lines += [""] * bool(report.left_out or report.refused)
    lines += [f"Left out: {each}" for each in report.left_out]
    lines += [f"Refused: {each}" for each in report.refused]
    if not report.complete:
        lines.append("Not complete: it ended before all was measured.")
    return lines


def ratio_lines(measurements: Sequence[Measurement]) -> list[str]:
    """Compare the first of a group with each other one, pair by pair."""
    ours, *others = measurements
    lines = []
    for theirs in others:
        if "part" in theirs.extras:
            shares = summarise(pair_ratios(ours.samples, theirs.samples))
            lines.append(
                f"{theirs.name}: {shares.median:.1%} of the time of a {ours.unit} "
                f"({shares.low:.1%} to {shares.high:.1%})"
            )
            continue
        ratios = [
            ratio * _work_ratio(ours, theirs) for ratio in pair_ratios(ours.samples, theirs.samples)
        ]
        summary = summarise(ratios)
        lines.append(
            f"{ours.name} is {summary.median:.2f} times as fast as {theirs.name} "
            f"({summary.low:.2f} to {summary.high:.2f} in {len(ratios)} pairs)"
        )
    return lines


def _work_ratio(ours: Measurement, theirs: Measurement) -> float:
    """Work of our unit divided by that of theirs (of fewer files, if they are slow)."""
    name = next(iter(ours.work))
    return ours.work[name] / theirs.work[name]


def _table(measurements: Sequence[Measurement]) -> list[str]:
    rows = [(each, summarise(each.samples)) for each in measurements]
    columns = []
    for column in COLUMNS:
        cells = [column.cell(*row) for row in rows]
        if any(cell is not None for cell in cells):
            columns.append([column.head, *(cell or "-" for cell in cells)])
    widths = [max(map(len, cells)) for cells in columns]
    lines = []
    for row in zip(*columns, strict=True):
        first, *rest = (
            cell.ljust(width) if number < 1 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return lines
