"""Generates music with a run: all pieces at a time, in compiled loops."""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmusic.config import ConfigError
from jaxmusic.midi.writer import TICKS_PER_QUARTER
from jaxmusic.run import Run
from jaxmusic.sampling.choice import SamplingConfig
from jaxmusic.sampling.context import WindowMethod, open_windows_pay
from jaxmusic.sampling.loop import CHUNK, Loop, begin, continue_pieces
from jaxmusic.sampling.primer import begins_from_nothing, fit_prime
from jaxmusic.tokenizers.tokenizer import (
    DEFAULT_STEP,
    Tokenizer,
    get_tokenizer,
    transpose_tokens,
)
from jaxmusic.tokenizers.vocabulary import RARE, Vocabulary
from jaxmusic.training.jax_settings import pinned_settings

LENGTH = 500  # tokens of a piece without any limit
# With a limit in quarters alone, a piece ends at so many tokens though its music stands still.
MOST_TOKENS_PER_QUARTER = 64
TOKENS_PER_LOOK = 64  # after so many the pieces' times are looked at


class Piece(NamedTuple):
    """A generated piece."""

    tokens: list[str]  # without what it was primed with, and without the token that ends a song
    ended: bool  # by that token, before the limits
    # The mean probability that the network gave to tokens that the scheme doesn't allow there, and
    # which were not chosen; None for a scheme that allows all.
    masked_probability: float | None


def generate(
    run: Run,
    *,
    length: int | None = None,
    quarters: float | None = None,
    count: int = 1,
    sampling: SamplingConfig | None = None,
    prime: Sequence[str] | None = None,
    from_window: bool = False,
    seed: int = 0,
    method: WindowMethod = "auto",
    log: Callable[[str], None] = warnings.warn,
) -> list[list[str]]:
    """Generate the tokens of `count` pieces; the same seed gives the same ones.

    Each piece continues the end of `prime`, without including it. Without a prime it begins from
    nothing, as songs do, if the run's scheme has a token for that and its network the objective
    `every`; otherwise, or with `from_window`, it continues a random window of the corpus.

    A piece ends by itself in schemes that have a token for that, after `length` tokens (default:
    500), or where a note would begin `quarters` after its start or later (`length` then has no
    default). A piece does not depend on `count`.

    A network trained with the objective `last` sees a window that slides by one token each step, as
    in the notebooks, by a `method` of `sampling.context`; one trained with `every` continues from
    its LSTM state. Tokens that may not follow the one before them, by the rules of a scheme with a
    fixed vocabulary, are never chosen.

    A prime is transposed to a key in which the run knows all its tokens, and the pieces are
    transposed back; `log` gets a line about that.

    Raises ConfigError for settings out of range, SamplingError for a prime that is too short.
    """
    pieces = generate_pieces(
        run,
        length=length,
        quarters=quarters,
        count=count,
        sampling=sampling,
        prime=prime,
        from_window=from_window,
        seed=seed,
        method=method,
        log=log,
    )
    return [piece.tokens for piece in pieces]


@pinned_settings()
def generate_pieces(
    run: Run,
    *,
    length: int | None = None,
    quarters: float | None = None,
    count: int = 1,
    sampling: SamplingConfig | None = None,
    prime: Sequence[str] | None = None,
    from_window: bool = False,
    seed: int = 0,
    method: WindowMethod = "auto",
    log: Callable[[str], None] = warnings.warn,
) -> list[Piece]:
    """As `generate`, with what else is known about each piece."""
    sampling = sampling or SamplingConfig()
    sampling.check()
    length = _checked_length(length, quarters, count, seed)
    tokenizer = get_tokenizer(run.vocabulary.scheme)
    key_primer, key = jax.random.split(jax.random.key(seed))
    semitones = 0
    if prime is not None:
        ids, semitones = fit_prime(run, prime, log)
        primers = np.tile(ids, (count, 1))
    elif begins_from_nothing(run) and not from_window:
        primers = np.full((count, 1), _id_of(tokenizer.end_token, run.vocabulary))
    else:
        chosen = jax.random.randint(key_primer, (count,), 0, len(run.primers))
        primers = run.primers[np.asarray(chosen)]
    loop = Loop(
        graphdef=run.graphdef,
        sampling=sampling,
        window=run.config.data.window,
        slots=_slots(run, method, count, length),
        # RARE replaces many tokens and can't be played.
        never=_id_of(RARE, run.vocabulary),
        end=_id_of(tokenizer.end_token, run.vocabulary),
    )
    arrays = {
        "params": run.params,
        "batch_stats": run.batch_stats,
        # A key for each piece, so that it doesn't depend on `count`.
        "keys": jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count)),
        "allowed": _allowed_pairs(run.vocabulary, tokenizer),
    }
    state = begin(loop, arrays, jnp.asarray(primers, jnp.int32))
    found = [np.asarray(state.token)[:, None]]
    position, most = 1, CHUNK if quarters is None else TOKENS_PER_LOOK
    while position < length and not state.ended.all():
        if quarters is not None and _all_reach(quarters, found, loop, run.vocabulary, tokenizer):
            break
        ids, state = continue_pieces(loop, arrays, state, min(length - position, most))
        found.append(np.asarray(ids)[:, : int(state.number) - position])
        position = int(state.number)
    masked = np.asarray(state.masked)
    pieces = []
    for row, probability in zip(np.concatenate(found, axis=1), masked, strict=True):
        ids, ended = _until_end(row, loop.end)
        steps = len(ids) + ended
        tokens = run.vocabulary.decode(ids)
        if quarters is not None and (kept := _tokens_within(tokens, quarters, tokenizer)) < len(
            tokens
        ):
            tokens, ended = tokens[:kept], False
        if semitones:
            tokens = transpose_tokens(tokens, -semitones, run.vocabulary.scheme)
        share = None if arrays["allowed"] is None else float(probability) / steps
        pieces.append(Piece(tokens, ended, share))
    return pieces


def _checked_length(length: int | None, quarters: float | None, count: int, seed: int) -> int:
    """The most tokens of a piece. Raises ConfigError for a number out of range."""
    if quarters is not None and not 0 < quarters < math.inf:
        raise ConfigError(f"--seconds give {quarters} quarters, but must be above 0 and finite.")
    if length is None:
        length = LENGTH
        if quarters is not None:
            length = min(math.ceil(quarters * MOST_TOKENS_PER_QUARTER), 2**31 - 1)
    for name, number in (("length", length), ("count", count)):
        if number < 1:
            raise ConfigError(f"--{name} is {number}, but must be 1 or more.")
        if number >= 2**31:
            raise ConfigError(f"--{name} is {number}, but must be below 2**31.")
    if not 0 <= seed < 2**32:
        raise ConfigError(f"--seed is {seed}, but must be from 0 to 2**32 - 1.")
    return length


def _slots(run: Run, method: WindowMethod, count: int, length: int) -> int:
    """Windows that are kept open for `count` pieces of a length; 0 to run whole windows."""
    if method == "auto":
        method = "open" if open_windows_pay(count, length) else "whole"
    last = run.config.model.objective == "last"
    return min(run.config.data.window, length) if last and method == "open" else 0


def _id_of(token: str | None, vocabulary: Vocabulary) -> int | None:
    return vocabulary.id_of(token) if token is not None and token in vocabulary else None


def _allowed_pairs(vocabulary: Vocabulary, tokenizer: Tokenizer) -> jax.Array | None:
    """Whether a token may follow another, (before, token); None where all may.

    Vocabularies that are not fixed may have tens of thousands of tokens: too many pairs.
    """
    if tokenizer.fixed_vocabulary() is None:
        return None
    allowed = np.ones((len(vocabulary),) * 2, bool)
    known = [number for number, token in enumerate(vocabulary.tokens) if token != RARE]
    for before, token in itertools.product(known, known):
        allowed[before, token] = tokenizer.may_follow(
            vocabulary.tokens[before], vocabulary.tokens[token]
        )
    return None if allowed.all() else jnp.asarray(allowed)


def _until_end(ids: np.ndarray, end: int | None) -> tuple[np.ndarray, bool]:
    """A piece's ids before the token that ends it, and whether there is one."""
    ends = np.flatnonzero(ids == end) if end is not None else ids[:0]
    return (ids[: ends[0]], True) if len(ends) else (ids, False)


def _all_reach(
    quarters: float,
    found: list[np.ndarray],
    loop: Loop,
    vocabulary: Vocabulary,
    tokenizer: Tokenizer,
) -> bool:
    """Whether each piece has ended, or has a note that begins at `quarters` or later."""
    for row in np.concatenate(found, axis=1):
        ids, ended = _until_end(row, loop.end)
        tokens = vocabulary.decode(ids)
        if not ended and _tokens_within(tokens, quarters, tokenizer) == len(tokens):
            return False
    return True


def _tokens_within(tokens: list[str], quarters: float, tokenizer: Tokenizer) -> int:
    """The number of a piece's first tokens whose notes all begin before `quarters`."""

    def last_onset(count: int) -> float:
        tracks = tokenizer.decode(tokens[:count], step=DEFAULT_STEP)
        return max((note.start for track in tracks for note in track), default=-1)

    limit = quarters * TICKS_PER_QUARTER
    if last_onset(len(tokens)) < limit:
        return len(tokens)
    # Notes follow each other in time: bisect for the first token that is too late.
    enough, too_many = 0, len(tokens)
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        enough, too_many = (middle, too_many) if last_onset(middle) < limit else (enough, middle)
    return enough
