"""TPU generations, with figures from their datasheets, and the topologies of their chips."""

from dataclasses import dataclass
from math import prod

from jaxmusic.benchmarks.results.machine import DATASHEET
from jaxmusic.config import ConfigError


@dataclass(frozen=True)
class Chip:
    """One TPU generation. A JAX device is a chip here (on v4 and v5p, both its cores)."""

    kind: str  # as JAX calls it
    hbm_bytes: int
    hbm_rate: float  # bytes/s
    link_rate: float  # bytes/s of one link of the interconnect, in one direction
    axes: int  # of the interconnect, two links each
    wraps_from: int  # axes of so many chips are rings, shorter ones are lines
    clock: float | None  # Hz; None: it doesn't follow from the datasheet
    shapes: tuple[str, ...]  # topologies that were tried
    configuration: str | None = None  # what libtpu calls the mode in which a chip is one device

    @property
    def peak(self) -> float:
        """Peak bfloat16 FLOP/s of all chips."""
        return DATASHEET[self.kind]["bf16"]


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_SOLID = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")

# docs.cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e, read in November 2026. "Bidirectional"
# bandwidths there are sums over both directions and all links. v5e's and v6e's axes are rings at
# 16 chips; slices of v4 and v5p are tori from 4x4x4 on. Clocks follow from the peak and the
# matrix units: v4 and v5p have 8 of 128 x 128 a chip, v5e has 4; v6e's peak is twice of what its
# two of 256 x 256 would make at any likely clock, so none is given.
CHIPS = {
    "v4": Chip("TPU v4", 32 << 30, 1.2e12, 50e9, 3, 4, 275e12 / (8 * 2 * 128 * 128),
               _SOLID, "megacore"),
    "v5e": Chip("TPU v5 lite", 16 << 30, 819e9, 50e9, 2, 16, 197e12 / (4 * 2 * 128 * 128), _FLAT),
    "v5p": Chip("TPU v5", 95 << 30, 2.765e12, 100e9, 3, 4, 459e12 / (8 * 2 * 128 * 128), _SOLID),
    "v6e": Chip("TPU v6 lite", 32 << 30, 1.638e12, 100e9, 2, 16, None, _FLAT),
}  # fmt: skip


@dataclass(frozen=True)
class Topology:
    """Chips in a grid."""

    name: str  # as libtpu knows it
    chip: Chip
    shape: tuple[int, ...]

    @property
    def chips(self) -> int:
        """Number of chips."""
        return prod(self.shape)

    @property
    def links(self) -> int:
        """Links of a corner chip, which has the fewest."""
        return sum(0 if size == 1 else 2 if self._rings(size) else 1 for size in self.shape)

    @property
    def hops(self) -> int:
        """Links between the two chips that are farthest apart, routed one axis after another."""
        return sum(size // 2 if self._rings(size) else size - 1 for size in self.shape)

    def _rings(self, size: int) -> bool:
        # Three axes are rings all together, or none of them is.
        shortest = min(self.shape) if self.chip.axes == 3 else size
        return shortest >= self.chip.wraps_from


def known_topologies() -> str:
    """The names of the tested topologies, for error messages."""
    return "; ".join(
        ", ".join(f"{name}:{shape}" for shape in chip.shapes) for name, chip in CHIPS.items()
    )


def read_topology(name: str) -> Topology:
    """Parse the name of a topology, such as `v5e:2x4`. Raises ConfigError for an invalid name."""
    generation, _, shape = name.partition(":")
    chip = CHIPS.get(generation)
    sizes = shape.split("x")
    numbers = all(size.isdecimal() and int(size) > 0 for size in sizes)
    if chip is None or not numbers or len(sizes) != chip.axes:
        raise unknown_topology(name)
    return Topology(name, chip, tuple(map(int, sizes)))


def unknown_topology(name: str) -> ConfigError:
    """The error for an unknown topology name."""
    return ConfigError(
        f"--topology {name}: there is no such topology; give one of {known_topologies()}."
    )
