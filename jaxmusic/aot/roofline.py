"""The least time of a step by the datasheet (roofline), and its time by the compiler's cycles.

A model, no measurement: nothing here has run on a chip.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxmusic.aot.chips import Topology
from jaxmusic.aot.work import Collective, Cost, Timed, Work

HOP_SECONDS = 1e-6  # no datasheet states it; a round number

ASSUMPTIONS = (
    "A model, no measurement. Every instruction of the compiled step, each as often as its loops "
    "run it, one after the other.",
    "At best: an instruction takes its products at the datasheet's bfloat16 peak (a float32 "
    "product is six of them) or its bytes at the datasheet's HBM bandwidth, whichever is longer. "
    "Elementwise arithmetic, and what it takes to start an instruction, count for nothing.",
    "By cycles: the cycles that the compiler expects of an instruction, at the clock that follows "
    "from the peak, where that is longer. It expects nothing of a Pallas kernel, of which only the "
    "time at best is known: with kernels these times are lower bounds ('>'), not to be compared "
    "with those of a program without.",
    "Copies that are started ahead count as traffic only, hidden behind other instructions as "
    "far as the bandwidth allows.",
    "An all-reduce hides behind nothing. It moves its bytes twice over the links that a chip at "
    f"the corner has, and takes {1e6 * HOP_SECONDS:.0f} us (assumed) for each hop to the farthest "
    "chip and back.",
    "Neither the host, nor what starts a dispatch, nor anything between slices is in it.",
)


@dataclass(frozen=True)
class Estimate:
    """Seconds of one step."""

    products: float  # all of them at the peak
    memory: float  # all traffic at HBM's bandwidth
    collectives: float
    at_best: float  # the step
    at_best_in_time_loops: float  # of it
    by_cycles: float | None  # the step; None: the chip's clock isn't known
    by_cycles_in_time_loops: float | None

    def windows_a_second(self, batch: int) -> tuple[float, float | None]:
        """Windows a second: the upper bound, and by cycles."""
        return batch / self.at_best, None if self.by_cycles is None else batch / self.by_cycles


def estimate(work: Work, topology: Topology) -> Estimate:
    """The model's times for a step on the chips of a topology."""
    chip = topology.chip
    memory = work.total("bytes") / chip.hbm_rate
    collectives = sum(
        each.count * collective_seconds(each, topology) for each in work.collectives if each.in_step
    )

    def at_best(cost: Cost) -> float:
        return max(cost.unit_flop / chip.peak, cost.bytes / chip.hbm_rate)

    def by_cycles(cost: Cost) -> float:
        return max(at_best(cost), cost.cycles / (chip.clock or 1.0))

    best = _sums(work.timed, at_best)
    cycles = _sums(work.timed, by_cycles)
    known = chip.clock is not None
    return Estimate(
        products=work.total("unit_flop") / chip.peak,
        memory=memory,
        collectives=collectives,
        at_best=max(sum(best), memory) + collectives,
        at_best_in_time_loops=best[1],
        by_cycles=max(sum(cycles), memory) + collectives if known else None,
        by_cycles_in_time_loops=cycles[1] if known else None,
    )


def collective_seconds(collective: Collective, topology: Topology) -> float:
    """Seconds of one collective over all chips."""
    if topology.chips == 1:
        return 0.0
    others = topology.chips - 1
    ways = 2 if collective.kind == "all-reduce" else 1  # there and back
    # Bytes that leave a chip, for each byte that it brings.
    share = {"all-reduce": 2 * others / topology.chips, "all-gather": others}
    moved = collective.bytes * share.get(collective.kind, 1.0)
    return moved / (topology.links * topology.chip.link_rate) + ways * topology.hops * HOP_SECONDS


def _sums(timed: tuple[Timed, ...], seconds: Callable[[Cost], float]) -> tuple[float, float]:
    """Sums over instructions outside and inside the loops over time."""
    sums = [0.0, 0.0]
    for each in timed:
        if not each.prefetch:
            sums[each.in_time_loop] += each.times * seconds(each.cost)
    return sums[0], sums[1]
