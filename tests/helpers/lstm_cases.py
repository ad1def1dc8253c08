"""Cases for one LSTM layer, what it computes for them, and what a plain loop does.

The plain loop is written twice, in NumPy and in JAX, both in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from helpers.programs import quick_jit

from jaxmusic.config import Precision, RecurrenceName
from jaxmusic.nn.cell import Carry
from jaxmusic.nn.lstm import run_lstm

# (batch, time, features, hidden)
Size = tuple[int, int, int, int]
# with masks, with a carry before the first step
Mode = tuple[bool, bool]
SMALL: Size = (5, 7, 3, 4)
BOOLS = (False, True)
MODES: list[Mode] = list(product(BOOLS, BOOLS))
EACH_MODE = [(SMALL, mode) for mode in MODES]
EACH_SIZE = [
    (size, mode)
    for size in ((1, 1, 1, 1), (9, 4, 1, 33), (16, 6, 21, 50))
    for mode in ((False, False), (True, True))
]
ANSWERS = ("sequence", "last", "both")  # what of the layer's results a loss looks at


ALL_ARRAYS = tuple(range(6))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Case:
    """What a layer is run on, and what a loss multiplies its results with.

    To JAX it is a pytree: cases of the same shapes share a compiled program.
    """

    arrays: tuple[Any, ...]  # inputs, weights, carry: what gradients are taken by
    masks: Any
    towards: tuple[Any, Any]

    @classmethod
    def random(cls, size: Size, mode: Mode = (True, True)) -> "Case":
        """Random arrays for one size and mode, in NumPy, float64."""
        batch, time, features, hidden = size
        with_masks, with_carry = mode
        rng = np.random.default_rng(list(size))

        def normal(*shape: int) -> np.ndarray:
            return rng.normal(size=shape)

        inputs = normal(batch, time, features)
        weights = (
            normal(features, 4 * hidden) / features**0.5,
            normal(hidden, 4 * hidden) / hidden**0.5,
            normal(4 * hidden),
        )
        carry = normal(batch, hidden), normal(batch, hidden)
        masks = rng.integers(0, 2, (batch, 4, hidden)) / 0.7
        return cls(
            (inputs, *weights, *(state * with_carry for state in carry)),
            masks if with_masks else None,
            (normal(batch, time, hidden), normal(batch, hidden)),
        )

    @property
    def spelled_out(self) -> "Case":
        """The same with masks of ones, where it has none."""
        batch, _, hidden = self.towards[0].shape
        return replace(
            self,
            masks=np.ones((batch, 4, hidden)) if self.masks is None else self.masks,
        )

    def loss(self, answer: str, layer: Callable[..., Any], *arrays: Any) -> Any:
        return self.weighed(answer, *layer(*arrays))

    def weighed(self, answer: str, outputs: Any, h: Any, c: Any) -> Any:
        every, last = self.towards
        loss = (outputs * every).sum() if answer != "last" else 0
        if answer != "sequence":
            loss += (h * h * last).sum() + (np if isinstance(c, np.ndarray) else jnp).sin(c).sum()
        return loss

    def run(self, recurrence: RecurrenceName, precision: Precision, *arrays: Any) -> Any:
        inputs, kernel, recurrent, bias, h, c = arrays
        outputs, after = run_lstm(
            inputs,
            kernel,
            recurrent,
            bias,
            carry=Carry(h, c),
            masks=self.masks,
            precision=precision,
            recurrence=recurrence,
        )
        return outputs, after.h, after.c

    def plain(self, *arrays: Any) -> Any:
        """A loop over time, in NumPy or, for autodiff, in JAX."""
        in_numpy = all(isinstance(array, np.ndarray) for array in arrays)
        xp: Any = np if in_numpy else jnp
        inputs, kernel, recurrent, bias, h, c = arrays
        hidden, time = h.shape[1], inputs.shape[1]

        def step(carry: Any, time: Any) -> Any:
            h, c = carry
            gates = []
            for gate in range(4):
                part = slice(gate * hidden, (gate + 1) * hidden)
                masked = h if self.masks is None else h * self.masks[:, gate]
                gates.append(
                    inputs[:, time] @ kernel[:, part] + masked @ recurrent[:, part] + bias[part]
                )
            i, f, o = (1 / (1 + xp.exp(-gates[gate])) for gate in (0, 1, 3))
            c_next = f * c + i * xp.tanh(gates[2])
            h_next = o * xp.tanh(c_next)
            return (h_next, c_next), h_next

        if in_numpy:
            every = []
            for at in range(time):
                (h, c), output = step((h, c), at)
                every.append(output)
            return np.stack(every, axis=1), h, c
        (h, c), outputs = jax.lax.scan(step, (h, c), jnp.arange(time))
        return outputs.swapaxes(0, 1), h, c


def in_float32(case: Case) -> Case:
    """The same in JAX's arrays."""
    arrays: Case = jax.tree.map(jnp.asarray, case)
    return arrays


class Found(NamedTuple):
    """What a layer computes for one case."""

    results: Any  # outputs, h, c
    gradients: dict[str, Any]  # by answer


@partial(jax.jit, static_argnums=(1, 2, 3))
def compute(
    case: Case,
    recurrence: RecurrenceName,
    precisions: tuple[Precision, ...],
    answers: tuple[str, ...],
) -> dict[Precision, Found]:
    """All that is looked at, in one program: compiling is what takes the time here."""
    found = {}
    for precision in precisions:
        layer = partial(case.run, recurrence, precision)
        gradients = {
            answer: jax.grad(partial(case.loss, answer, layer), ALL_ARRAYS)(*case.arrays)
            for answer in answers
        }
        found[precision] = Found(layer(*case.arrays), gradients)
    return found


@cache
def found_by(
    recurrence: RecurrenceName, size: Size, mode: Mode, *, x64: bool = False
) -> dict[Precision, Found]:
    """In both precisions, or in float64 alone; of what a loss looks at, one case at other sizes."""
    answers = ANSWERS if size == SMALL else ("both",)
    with jax.enable_x64(x64):
        case = Case.random(size, mode)
        precisions: tuple[Precision, ...] = ("f32",) if x64 else ("f32", "bf16")
        found: dict[Precision, Found] = jax.device_get(
            compute(case, recurrence, precisions, answers)
        )
    return found


@quick_jit
def autodiff_of_plain(case: Case) -> dict[str, Any]:
    results, pull_back = jax.vjp(case.plain, *case.arrays)
    return {
        answer: pull_back(jax.grad(lambda results, a=answer: case.weighed(a, *results))(results))
        for answer in ("sequence", "last")
    }


@cache
def expected_gradients(size: Size, mode: Mode) -> dict[str, Any]:
    """Of the plain loop, by autodiff in float64: one program for all modes."""
    with jax.enable_x64(True):
        found = jax.device_get(autodiff_of_plain(Case.random(size, mode).spelled_out))
    both = tuple(map(np.add, found["sequence"], found["last"]))
    return {**found, "both": both}
