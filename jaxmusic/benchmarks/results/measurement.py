"""What a benchmark found: samples, what one of them did, and the document that holds them all."""

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
    """A file that holds no benchmark."""


class _Header(msgspec.Struct):
    format: int


@dataclass
class Measurement:
    """One contestant under one workload."""

    group: str  # the workload; contestants of one group ran in turn
    name: str
    unit: str  # what a sample is the time of
    work: dict[str, float]  # how much of what a unit does: windows, tokens, files, ...
    samples: list[float] = field(default_factory=list)  # seconds a unit, one for each round
    extras: dict[str, Any] = field(default_factory=dict)  # compile time, memory, ...

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others of a report."""
        return self.group, self.name


@dataclass
class Report:
    """All of one run of the benchmark; it grows while that runs."""

    kind: str  # train, data, generate, scaling
    settings: dict[str, Any]
    machine: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # who isn't in it, and why
    refused: list[str] = field(default_factory=list)  # whose results are wrong
    notes: list[str] = field(default_factory=list)  # how the figures are to be read
    complete: bool = False

    def measured(self) -> dict[str, list[Measurement]]:
        """Those with samples, by group, in the order of their start."""
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
    """Read what `save_report` wrote.

    Raises ReportError, naming the file and the flag that it came by, for anything else.
    """
    try:
        version = read_json(path, _Header, most=LARGEST).format
        if version != FORMAT:
            raise ReportError(
                f"--baseline {path} is a benchmark of the format {version}; this version reads "
                f"{FORMAT}: measure anew, or give another file."
            )
        return read_json(path, Report, most=LARGEST)
    except (OSError, ValueError) as error:
        raise ReportError(
            f"--baseline {path} can't be read as a benchmark's JSON: {reason_of(error)}. Give a "
            "file that --json wrote."
        ) from error
