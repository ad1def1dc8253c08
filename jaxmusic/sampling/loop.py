"""The compiled loop that chooses one token after the other, of all pieces at a time."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxmusic.nn.model import MusicLSTM
from jaxmusic.sampling.choice import SamplingConfig, choose_token
from jaxmusic.sampling.context import (
    Context,
    carried_state,
    open_windows,
    whole_windows,
)

CHUNK = 512  # tokens of a piece that one call of the loop makes at most


class Loop(NamedTuple):
    """What the loop is compiled for."""

    graphdef: nnx.GraphDef[MusicLSTM]
    sampling: SamplingConfig
    window: int
    slots: int  # of open windows, for the objective `last`; 0: whole windows
    never: int | None  # the id of a token that is never chosen
    end: int | None  # the id of the token that ends a piece, and is not its first one


class LoopState(NamedTuple):
    """Where the loop stands."""

    context: Any  # of all tokens but the last one
    token: jax.Array  # the last one of each piece (pieces,)
    number: jax.Array  # () of tokens so far
    ended: jax.Array  # (pieces,)
    masked: jax.Array  # (pieces,) the sum of the probabilities of tokens that are not allowed


@partial(jax.jit, static_argnames="loop")
def begin(loop: Loop, arrays: dict[str, Any], primers: jax.Array) -> LoopState:
    """The state after the first token of pieces that continue primers (pieces, time).

    `arrays` are the network's `params` and `batch_stats`, the `keys` of the pieces (pieces,), and
    `allowed`, whether a token may follow another (before, token), or None.
    """
    pieces = len(primers)
    context = _context(loop, arrays, pieces)
    kept = context.begin(primers)
    start = LoopState(
        kept,
        primers[:, -1],
        jnp.int32(0),
        jnp.zeros(pieces, bool),
        jnp.zeros(pieces),
    )
    return _choose(loop, arrays, start, context.logits(kept))


@partial(jax.jit, static_argnames="loop")
def continue_pieces(
    loop: Loop, arrays: dict[str, Any], state: LoopState, most: int
) -> tuple[jax.Array, LoopState]:
    """Up to `most` more tokens of each piece, ids (pieces, CHUNK), fewer if all pieces end."""
    pieces = len(state.token)
    context = _context(loop, arrays, pieces)
    start = state.number

    def unfinished(loop_state: tuple[jax.Array, LoopState]) -> jax.Array:
        _, now = loop_state
        return (now.number < start + most) & ~now.ended.all()

    def step(loop_state: tuple[jax.Array, LoopState]) -> tuple[jax.Array, LoopState]:
        ids, now = loop_state
        kept = context.advance(now.context, now.token)
        after = _choose(loop, arrays, now._replace(context=kept), context.logits(kept))
        return ids.at[:, now.number - start].set(after.token), after

    ids = jnp.zeros((pieces, CHUNK), jnp.int32)
    found: tuple[jax.Array, LoopState] = lax.while_loop(unfinished, step, (ids, state))
    return found


def _choose(loop: Loop, arrays: dict[str, Any], state: LoopState, logits: jax.Array) -> LoopState:
    """The state after the next token, by logits (pieces, vocabulary)."""
    masked = state.masked
    if arrays["allowed"] is not None:
        allowed = arrays["allowed"][state.token]
        forbidden = jnp.where(allowed, 0.0, jax.nn.softmax(logits)).sum(axis=1)
        masked += jnp.where(state.ended, 0.0, forbidden)
        logits = jnp.where(allowed, logits, -jnp.inf)
    if loop.never is not None:
        logits = logits.at[:, loop.never].set(-jnp.inf)
    if loop.end is not None:
        first = state.number == 0
        logits = jnp.where(first, logits.at[:, loop.end].set(-jnp.inf), logits)
    step_keys = jax.vmap(lambda key: jax.random.fold_in(key, state.number))(arrays["keys"])
    token = jax.vmap(partial(choose_token, sampling=loop.sampling))(step_keys, logits)
    ended = state.ended if loop.end is None else state.ended | (token == loop.end)
    return LoopState(state.context, token, state.number + 1, ended, masked)


def _context(loop: Loop, arrays: dict[str, Any], pieces: int) -> Context:
    """How the tokens so far are kept."""
    model: MusicLSTM = nnx.merge(loop.graphdef, arrays["params"], arrays["batch_stats"])
    if model.config.objective == "every":
        return carried_state(model)
    if loop.slots == 0:
        return whole_windows(model)
    return open_windows(model, loop.window, loop.slots)
