"""Generates music with a run: all tokens of all pieces in one compiled scan."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxmusic.config import AT_LEAST_ONE, POSITIVE, ConfigError, Range, check_ranges
from jaxmusic.errors import UserError
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.run import Run
from jaxmusic.tokenizers.vocabulary import RARE
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.state import PyTree

# Temperatures are clipped to these, as float32 would overflow or underflow beyond them. The limits
# are reached here: only the likeliest token, or all tokens equally likely.
COLDEST, HOTTEST = 1e-20, 1e20


PROBABILITY = Range("above 0 and at most 1", lambda value: 0 < value <= 1)


class SamplingError(UserError):
    """A primer that can't be used."""


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is chosen."""

    # Always the likeliest token, as the notebooks' companion does.
    greedy: bool = False
    # 1 samples the network's own distribution; more is more adventurous, less more cautious.
    temperature: Annotated[float, POSITIVE] = 0.9
    # Sample only among this many of the likeliest tokens.
    top_k: Annotated[int, AT_LEAST_ONE] | None = None
    # Sample only among the likeliest tokens that together have this probability (0 to 1).
    top_p: Annotated[float, PROBABILITY] | None = None

    def check(self) -> None:
        """Raise ConfigError when a value is out of its range."""
        check_ranges(self)


@pinned_settings()
def generate(
    run: Run,
    *,
    length: int = 500,
    count: int = 1,
    sampling: SamplingConfig | None = None,
    prime: Sequence[str] | None = None,
    seed: int = 0,
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


@partial(jax.jit, static_argnames=("length", "sampling", "never", "graphdef"))
def _generate(
    params: PyTree,
    batch_stats: PyTree,
    primers: jax.Array,
    keys: jax.Array,
    *,
    length: int,
    sampling: SamplingConfig,
    never: int | None,
    graphdef: nnx.GraphDef[MusicLSTM],
) -> jax.Array:
    """Continue primers (count, time) with keys (count,): ids (count, length)."""
    model: MusicLSTM = nnx.merge(graphdef, params, batch_stats)

    def choose(logits: jax.Array, number: jax.Array) -> jax.Array:
        if never is not None:
            logits = logits.at[:, never].set(-jnp.inf)
        step_keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
        return jax.vmap(partial(choose_token, sampling=sampling))(step_keys, logits)

    # Logits follow from this memory and the token added last.
    memory: Any
    if model.config.objective == "every":
        features, memory = model.recur(primers)
        logits = model.head(features)[:, -1]

        def advance(memory: Any, token: jax.Array) -> tuple[Any, jax.Array]:
            features, memory = model.recur(token[:, None], carries=memory)
            return memory, model.head(features)[:, -1]
    else:
        memory, logits = primers, model(primers)

        def advance(memory: Any, token: jax.Array) -> tuple[Any, jax.Array]:
            memory = jnp.concatenate([memory[:, 1:], token[:, None]], axis=1)
            return memory, model(memory)

    def step(carry: tuple[Any, jax.Array], number: jax.Array) -> tuple[Any, jax.Array]:
        memory, token = carry
        memory, logits = advance(memory, token)
        token = choose(logits, number)
        return (memory, token), token

    first = choose(logits, jnp.int32(0))
    _, rest = lax.scan(step, (memory, first), jnp.arange(1, length))
    return jnp.concatenate([first[:, None], rest.T], axis=1)


def choose_token(key: jax.Array, logits: jax.Array, *, sampling: SamplingConfig) -> jax.Array:
    """Choose a token id () by logits (vocabulary,).

    Top-p is nucleus sampling (Holtzman et al. 2020, "The Curious Case of Neural Text
    Degeneration"): the smallest set of likeliest tokens whose probability reaches p.
    """
    if sampling.greedy:
        return jnp.argmax(logits).astype(jnp.int32)
    logits = logits / min(max(sampling.temperature, COLDEST), HOTTEST)
    if sampling.top_k is not None and sampling.top_k < logits.size:
        kth = lax.top_k(logits, sampling.top_k)[0][-1]
        logits = jnp.where(logits >= kth, logits, -jnp.inf)
    if sampling.top_p is not None:
        order = jnp.argsort(-logits)
        probabilities = jax.nn.softmax(logits)[order]
        before = jnp.cumsum(probabilities) - probabilities  # of the likelier ones
        top_p = max(sampling.top_p, float(np.finfo(np.float32).tiny))  # above 0 in float32 too
        kept = jnp.zeros(logits.shape, bool).at[order].set(before < top_p)
        logits = jnp.where(kept, logits, -jnp.inf)
    return jax.random.categorical(key, logits).astype(jnp.int32)
