"""How the next token is chosen: temperature, top-k and top-p."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmusic.ranges import AT_LEAST_ONE, POSITIVE, Range, check_ranges

# Temperatures are clipped to these, as float32 would overflow or underflow beyond them. The limits
# are reached here: only the likeliest token, or all tokens equally likely.
COLDEST, HOTTEST = 1e-20, 1e20

PROBABILITY = Range("above 0 and at most 1", lambda value: 0 < value <= 1)


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
