"""What the next token's logits follow from: the tokens so far, kept in one of three ways.

A network with the objective `every` goes on from its LSTM state. One with the objective `last` sees
a window from a zero state, which slides by one token each step, either

- as a whole: every window runs through the network from its beginning; or
- as open windows: a token belongs to as many windows as a window has tokens, so each of them keeps
  its state, one product advances all of them by the token, and the oldest, complete now, gives the
  logits. That is the same arithmetic in one step of many rows instead of many steps of one row.

Positions count a piece's tokens from the first one of its primer. The window that starts at a
position has the slot `position % window`; no state is ever moved.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxmusic.nn.cell import Carry
from jaxmusic.nn.devices import current_platform
from jaxmusic.nn.model import MusicLSTM

# Where open windows pay, measured on two cores at 3 x 512 and a window of 100.
FEWEST_TOKENS, MOST_PIECES_ON_CPU = 30, 3
STAGES = 2  # of the primer: more of them save less than they take to compile

WindowMethod = Literal["auto", "open", "whole"]


class Context(NamedTuple):
    """A way to keep the tokens so far, of any number of pieces. Its state is a pytree."""

    begin: Callable[[jax.Array], Any]  # primers (pieces, time) -> state
    advance: Callable[[Any, jax.Array], Any]  # state, a token of each piece (pieces,) -> state
    logits: Callable[[Any], jax.Array]  # state -> (pieces, vocabulary), of the next token


class OpenWindows(NamedTuple):
    """The states of the open windows."""

    carries: tuple[Carry, ...]  # a layer each, (slots, pieces, hidden)
    position: jax.Array  # () of the next token


def carried_state(model: MusicLSTM) -> Context:
    """The LSTM layers' state after the last token, for the objective `every`."""

    def begin(primers: jax.Array) -> Any:
        features, carries = model.recur(primers)
        return model.head(features)[:, -1], carries

    def advance(state: Any, tokens: jax.Array) -> Any:
        features, carries = model.recur(tokens[:, None], carries=state[1])
        return model.head(features)[:, -1], carries

    return Context(begin, advance, logits=lambda state: state[0])


def whole_windows(model: MusicLSTM) -> Context:
    """The tokens of the last window, all run through the network each time."""

    def advance(windows: jax.Array, tokens: jax.Array) -> jax.Array:
        return jnp.concatenate([windows[:, 1:], tokens[:, None]], axis=1)

    return Context(lambda primers: primers, advance, model)


def open_windows_pay(pieces: int, length: int) -> bool:
    """Whether open windows are the faster ones for pieces of a length.

    The primer costs up to as much as a window's length of tokens. And where whole windows of many
    pieces use most of a CPU's arithmetic, little is left to gain.
    """
    few = current_platform() != "cpu" or pieces <= MOST_PIECES_ON_CPU
    return few and length >= FEWEST_TOKENS


def open_windows(model: MusicLSTM, window: int, slots: int) -> Context:
    """The states of the windows that are open.

    `slots` is the number of windows whose logits will be read, or the window's length if that is
    less: other windows are not computed.
    """

    def begin(primers: jax.Array) -> OpenWindows:
        pieces = len(primers)
        dtype = model.lstm[0].kernel[...].dtype
        hidden_sizes = [len(layer.recurrent_kernel[...]) for layer in model.lstm]

        def step(state: OpenWindows, tokens: jax.Array) -> tuple[OpenWindows, None]:
            return advance(state, tokens), None

        carries = tuple(_zeros(0, pieces, hidden, dtype) for hidden in hidden_sizes)
        state = OpenWindows(carries, jnp.int32(0))
        # In stages, as windows that start later have no states yet.
        for start in range(0, window, stage := -(-window // STAGES)):
            end = min(start + stage, window)
            new = min(end, slots) - len(state.carries[0].h)
            carries = tuple(
                jax.tree.map(
                    lambda old, zeros: jnp.concatenate([old, zeros]),
                    carry,
                    _zeros(max(new, 0), pieces, carry.h.shape[-1], dtype),
                )
                for carry in state.carries
            )
            state, _ = lax.scan(step, OpenWindows(carries, state.position), primers.T[start:end])
        return state

    def advance(state: OpenWindows, tokens: jax.Array) -> OpenWindows:
        slot = state.position % window

        def restart(states: jax.Array) -> jax.Array:
            # Slots that are not computed are out of bounds, and dropped.
            states = states.at[slot].set(0.0, mode="drop")
            return states.reshape(-1, states.shape[-1])

        computed, pieces, _ = state.carries[0].h.shape
        _, carries = model.recur(
            jnp.tile(tokens, computed)[:, None], carries=jax.tree.map(restart, state.carries)
        )
        carries = jax.tree.map(lambda rows: rows.reshape(computed, pieces, -1), carries)
        return OpenWindows(carries, state.position + 1)

    def logits(state: OpenWindows) -> jax.Array:
        # The oldest window starts a window's length before the next token.
        return model.head(state.carries[-1].h[state.position % window])

    return Context(begin, advance, logits)


def _zeros(slots: int, pieces: int, hidden: int, dtype: DTypeLike) -> Carry:
    zeros = jnp.zeros((slots, pieces, hidden), dtype)
    return Carry(h=zeros, c=zeros)
