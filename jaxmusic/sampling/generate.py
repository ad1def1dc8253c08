"""Generates music with a run: all tokens of all pieces in one compiled scan."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxmusic.config import ConfigError
from jaxmusic.errors import UserError
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.run import Run
from jaxmusic.sampling.choice import SamplingConfig, choose_token
from jaxmusic.sampling.context import (
    Context,
    WindowMethod,
    carried_state,
    open_windows,
    open_windows_pay,
    whole_windows,
)
from jaxmusic.tokenizers.vocabulary import RARE
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.state import PyTree


class SamplingError(UserError):
    """A primer that can't be used."""


@pinned_settings()
def generate(
    run: Run,
    *,
    length: int = 500,
    count: int = 1,
    sampling: SamplingConfig | None = None,
    prime: Sequence[str] | None = None,
    seed: int = 0,
    method: WindowMethod = "auto",
) -> list[list[str]]:
    """Generate `count` pieces of `length` tokens; the same seed gives the same ones.

    Each piece continues a random window of the corpus, or the end of `prime`, without including
    it. A network trained with the objective `last` sees a window that slides by one token each
    step, as in the notebooks; one trained with `every` continues from its LSTM state.

    Raises ConfigError for settings out of range, SamplingError for a prime that is too short or
    has tokens that the run doesn't know.
    """
    sampling = sampling or SamplingConfig()
    sampling.check()
    for name, number in (("length", length), ("count", count)):
        if number < 1:
            raise ConfigError(f"--{name} is {number}, but must be 1 or more.")
        if number >= 2**31:
            raise ConfigError(f"--{name} is {number}, but must be below 2**31.")
    if not 0 <= seed < 2**32:
        raise ConfigError(f"--seed is {seed}, but must be from 0 to 2**32 - 1.")
    key_primer, key = jax.random.split(jax.random.key(seed))
    if prime is None:
        chosen = jax.random.randint(key_primer, (count,), 0, len(run.primers))
        primers = run.primers[np.asarray(chosen)]
    else:
        primers = np.tile(_prime_ids(run, prime), (count, 1))
    # RARE replaces many tokens and can't be played.
    never = run.vocabulary.id_of(RARE) if RARE in run.vocabulary else None
    ids = _generate(
        run.params,
        run.batch_stats,
        jnp.asarray(primers, jnp.int32),
        # A key for each piece, so that it doesn't depend on `count`.
        jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count)),
        length=length,
        sampling=sampling,
        never=never,
        method=method,
        graphdef=run.graphdef,
    )
    return [run.vocabulary.decode(row) for row in np.asarray(ids)]


def _prime_ids(run: Run, prime: Sequence[str]) -> np.ndarray:
    """Ids of the primer's last tokens (time,): a window of them, or fewer for `every`."""
    window = run.config.data.window
    last = list(prime[-window:])
    if RARE in run.vocabulary:
        last = [token if token in run.vocabulary else RARE for token in last]
    if unknown := sorted({token for token in last if token not in run.vocabulary}):
        raise SamplingError(
            f"The prime has {len(unknown)} tokens that the run doesn't know "
            f"({', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}): prime with music "
            "more like what it was trained on."
        )
    needed = 1 if run.config.model.objective == "every" else window
    if len(last) < needed:
        raise SamplingError(
            f"The prime has {len(last)} tokens, but this run needs {needed}: give a longer piece."
        )
    return run.vocabulary.encode(last)


@partial(jax.jit, static_argnames=("length", "sampling", "never", "method", "graphdef"))
def _generate(
    params: PyTree,
    batch_stats: PyTree,
    primers: jax.Array,
    keys: jax.Array,
    *,
    length: int,
    sampling: SamplingConfig,
    never: int | None,
    method: WindowMethod,
    graphdef: nnx.GraphDef[MusicLSTM],
) -> jax.Array:
    """Continue primers (count, time) with keys (count,): ids (count, length)."""
    model: MusicLSTM = nnx.merge(graphdef, params, batch_stats)

    def choose(logits: jax.Array, number: jax.Array) -> jax.Array:
        if never is not None:
            logits = logits.at[:, never].set(-jnp.inf)
        step_keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
        return jax.vmap(partial(choose_token, sampling=sampling))(step_keys, logits)

    pieces, window = primers.shape
    context = _context(model, pieces, window, length, method)

    def step(state: Any, number: jax.Array) -> tuple[Any, jax.Array]:
        token = choose(context.logits(state), number)
        return context.advance(state, token), token

    state, tokens = lax.scan(step, context.begin(primers), jnp.arange(length - 1))
    last = choose(context.logits(state), jnp.int32(length - 1))
    return jnp.concatenate([tokens.T, last[:, None]], axis=1)


def _context(
    model: MusicLSTM, pieces: int, window: int, length: int, method: WindowMethod
) -> Context:
    """How the tokens so far are kept, for pieces of a length after primers of a window."""
    if model.config.objective == "every":
        return carried_state(model)
    if method == "auto":
        method = "open" if open_windows_pay(pieces, length) else "whole"
    if method == "whole":
        return whole_windows(model)
    return open_windows(model, window, min(window, length))
