"""One run of a benchmark: measure, print, write, draw, compare."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxmusic.benchmarks.flags import OutputFlags
from jaxmusic.benchmarks.harness.rounds import Log
from jaxmusic.benchmarks.results.chart import check_chart, draw_chart
from jaxmusic.benchmarks.results.machine import describe_machine
from jaxmusic.benchmarks.results.measurement import Report, load_report, save_report
from jaxmusic.benchmarks.results.output_files import check_output
from jaxmusic.benchmarks.results.statistics import slower_than
from jaxmusic.benchmarks.results.table import report_lines
from jaxmusic.config import ConfigError
from jaxmusic.errors import UserError


class RefusedError(UserError):
    """A program of the comparison computes wrong results."""


def run_session(
    kind: str, measure: Callable[[Any, Report, Log], None], flags: Any, output: OutputFlags
) -> None:
    """Measure into a report, then print it and write what the flags ask for.

    After Ctrl-C the report holds what was measured, and KeyboardInterrupt is raised again. Raises
    RefusedError when a program computed wrong results.
    """
    baseline = None if output.baseline is None else load_report(Path(output.baseline))
    if baseline is not None and baseline.kind != kind:
        raise ConfigError(
            f"--baseline {output.baseline} is a benchmark of {baseline.kind}, not of {kind}: give "
            "another file."
        )
    check_output("--json", output.json)
    check_output("--plot", output.plot)
    if output.plot is not None:
        check_chart(Path(output.plot))
    report = Report(kind, dataclasses.asdict(flags), describe_machine())
    try:
        measure(flags, report, _log)
        report.complete = True
    finally:
        if report.complete or report.measurements:  # else the flags were wrong
            _conclude(report, output, baseline)
    if report.refused:
        raise RefusedError(f"{len(report.refused)} refused. {report.refused[0]}.")


def _conclude(report: Report, output: OutputFlags, baseline: Report | None) -> None:
    for line in report_lines(report):
        print(line)
    if output.json is not None:
        save_report(report, Path(output.json))
    if output.plot is not None:
        draw_chart(report, Path(output.plot))
    if baseline is not None:
        slower, compared = slower_than(baseline, report)
        print(f"\nCompared with {output.baseline}: {compared} measurements")
        if baseline.machine["processor"] != report.machine["processor"]:
            print(f"It was measured on another machine: {baseline.machine['processor']}")
        for line in slower or ["Nothing is slower by more than the noise."] * bool(compared):
            print(line)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
