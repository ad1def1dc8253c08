"""A way to compute the recurrence: what it supports, whether it pays, and its two passes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import jax

from jaxmusic.config import Precision

LayersT = TypeVar("LayersT")  # Layer, or Stack
CarriesT = TypeVar("CarriesT")  # Carry, or a tuple of one a layer


class Workload(NamedTuple):
    """What the choice of a recurrence depends on."""

    platform: str  # of the devices, as JAX names it: cpu, gpu, tpu
    steps: int  # of time
    rows: int  # of the batch, on each device
    hidden_sizes: tuple[int, ...]  # of the layers
    float32: bool = True  # whether inputs, weights and carries are


@dataclass(frozen=True)
class Recurrence(Generic[LayersT, CarriesT]):
    """One way to compute the LSTM layers."""

    name: str
    # Why it can't compute a workload, in a few words that complete "--recurrence NAME: ..."; None
    # when it can. `auto` asks only where it pays.
    why_not: Callable[[Workload], str | None]
    # Whether `auto` takes it, where the entries before it in the registry don't pay.
    pays: Callable[[Workload], bool]
    # h at every step, the carries after the last one, and the residuals that `backward` needs.
    forward: Callable[[Precision, LayersT], tuple[jax.Array, CarriesT, Any]]
    # From (precision, layers, h, residuals, dh, d_after) to the gradients of the layers; masks have
    # none. `dh` is the gradient of h at every step (None: h is not used), `d_after` that of the
    # carries after the last one.
    backward: Callable[[Precision, LayersT, jax.Array, Any, jax.Array | None, CarriesT], LayersT]
    # Files of the package that its numbers come from, beside those of all ways.
    sources: tuple[str, ...]
    # Whether it takes a Stack, all layers at once, or a Layer.
    stacked: bool = False
    # `forward` without residuals, where the compiler can't see that nothing uses them.
    inference: Callable[[Precision, LayersT], tuple[jax.Array, CarriesT]] | None = None


def differentiated_once(function: Callable[..., Any], kernel: str) -> Callable[..., Any]:
    """A kernel's function, which has no derivative of its own: asked for one, it refuses.

    `kernel` is its name in the error, a NotImplementedError.
    """

    @jax.custom_jvp
    def once(*arrays: jax.Array) -> Any:
        return function(*arrays)

    @once.defjvp
    def twice(*_: Any) -> Any:
        raise NotImplementedError(
            f"{kernel} has no second derivative: use the recurrence 'scan' (--recurrence scan)."
        )

    return once
