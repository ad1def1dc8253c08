"""What is told of stops: a line each, and a table of them by phase."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fault_injection.victim import PHASES

HEADER = (
    f"{'stop':>5}  {'run':>4}  {'signal':<8} {'while':<11} {'step':>7}  {'went on':>8}  "
    f"{'gone in':>8}  exit codes"
)


@dataclass(frozen=True)
class Stop:
    """One stop of a training."""

    number: int
    run: int
    signal: str
    process: int  # that got it
    phase: str
    step: int  # that was told last
    went_on_after: int | None  # the step with which the next life began; None: stopped too
    seconds: float  # from the signal to the end of all processes
    codes: list[int]


def stop_line(stop: Stop) -> str:
    """A row under HEADER."""
    went_on = "-" if stop.went_on_after is None else f"{stop.went_on_after:,}"
    return (
        f"{stop.number:>5}  {stop.run:>4}  {stop.signal:<8} {stop.phase:<11} {stop.step:>7,}  "
        f"{went_on:>8}  {stop.seconds:>7.2f}s  {' '.join(map(str, stop.codes))}"
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
                max(0, stop.step - stop.went_on_after)
                for stop in here
                if stop.went_on_after is not None
            ) or [0]
            seconds = sorted(stop.seconds for stop in here)
            lines.append(
                f"{phase:<11} {name:<8} {len(here):>5}  "
                f"{again[len(again) // 2]:>5,}, most {again[-1]:>5,}  "
                f"{seconds[len(seconds) // 2]:>4.1f}s, most {seconds[-1]:.1f}s"
            )
    return lines


def as_json(stops: Sequence[Stop]) -> list[dict[str, Any]]:
    """All of it."""
    return [asdict(stop) for stop in stops]
