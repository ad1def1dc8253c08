"""The report on stops: a line each, and a table by phase."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fault_injection.instrumented_trainer import PHASES

HEADER = (
    f"{'stop':>5}  {'run':>4}  {'signal':<8} {'while':<11} {'step':>7}  {'resumed':>8}  "
    f"{'gone in':>8}  exit codes"
)


@dataclass(frozen=True)
class Stop:
    """One stop of a training."""

    number: int
    run: int
    signal: str
    process: int  # that got the signal
    phase: str
    step: int  # reported last
    resumed_after: int | None  # from which the next trial resumed; None: it was stopped too
    seconds: float  # from the signal to the end of all processes
    codes: list[int]


def stop_line(stop: Stop) -> str:
    """A row under HEADER."""
    resumed = "-" if stop.resumed_after is None else f"{stop.resumed_after:,}"
    return (
        f"{stop.number:>5}  {stop.run:>4}  {stop.signal:<8} {stop.phase:<11} {stop.step:>7,}  "
        f"{resumed:>8}  {stop.seconds:>7.2f}s  {' '.join(map(str, stop.codes))}"
    )


def summary_lines(stops: Sequence[Stop]) -> list[str]:
    """A row for each phase and signal."""
    lines = [f"{'while':<11} {'signal':<8} {'stops':>5}  {'steps repeated':>18}  {'ended in':>14}"]
    for phase in PHASES:
        for name in sorted({stop.signal for stop in stops}):
            here = [stop for stop in stops if stop.phase == phase and stop.signal == name]
            if not here:
                continue
            again = sorted(
                max(0, stop.step - stop.resumed_after)
                for stop in here
                if stop.resumed_after is not None
            ) or [0]
            seconds = sorted(stop.seconds for stop in here)
            lines.append(
                f"{phase:<11} {name:<8} {len(here):>5}  "
                f"{again[len(again) // 2]:>5,}, most {again[-1]:>5,}  "
                f"{seconds[len(seconds) // 2]:>4.1f}s, most {seconds[-1]:.1f}s"
            )
    return lines


def as_json(stops: Sequence[Stop]) -> list[dict[str, Any]]:
    """Return all stops."""
    return [asdict(stop) for stop in stops]
