"""Samples of a benchmark, and the report that holds them."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from jaxmusic.errors import UserError, reason_of
from jaxmusic.storage.json_text import render_json
from jaxmusic.storage.outputs import write_output
from jaxmusic.storage.reading import read_json

FORMAT = 1  # of the JSON
LARGEST = 256 << 20  # bytes of it


class ReportError(UserError):
    """A file doesn't hold a benchmark's report."""


class _Header(msgspec.Struct):
    format: int


@dataclass
class Measurement:
    """One contestant under one workload."""

    group: str  # the workload; the contestants of a group ran in turn
    name: str
    unit: str  # a sample is its time: step, token, ...
    work: dict[str, float]  # amounts per unit: windows, tokens, files, ...
    samples: list[float] = field(default_factory=list)  # seconds per unit, one for each round
    extras: dict[str, Any] = field(default_factory=dict)  # compile time, memory, ...

    @property
    def key(self) -> tuple[str, str]:
        """Identifies it within a report."""
        return self.group, self.name


@dataclass
class Report:
    """One run of a benchmark; it grows while that runs."""

    kind: str  # train, data, generate, scaling
    settings: dict[str, Any]
    machine: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # contestants that failed, with reasons
    refused: list[str] = field(default_factory=list)  # contestants with wrong results
    notes: list[str] = field(default_factory=list)  # how to read the figures
    complete: bool = False

    def measured(self) -> dict[str, list[Measurement]]:
        """Measurements with samples, by group, in order."""
        groups: dict[str, list[Measurement]] = {}
        for measurement in self.measurements:
            if measurement.samples:
                groups.setdefault(measurement.group, []).append(measurement)
        return groups


def save_report(report: Report, path: Path) -> None:
    """Write it as JSON, with every sample."""
    document = {"format": FORMAT, **dataclasses.asdict(report)}
    write_output(path, render_json(document, indent=1) + "\n")


def load_report(path: Path) -> Report:
    """Read what `save_report` wrote. Raises ReportError, naming --baseline, for anything else."""
    try:
        version = read_json(path, _Header, most=LARGEST).format
        if version != FORMAT:
            raise ReportError(
                f"--baseline {path} has the format {version}, and this version reads "
                f"{FORMAT}: measure again, or give another file."
            )
        return read_json(path, Report, most=LARGEST)
    except (OSError, ValueError) as error:
        raise ReportError(
            f"--baseline {path} can't be read as a benchmark's JSON: {reason_of(error)}. Give a "
            "file that --json wrote."
        ) from error
