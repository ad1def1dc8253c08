"""The likelihood that a run's network gives each token of songs, and what it is per note."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from flax import nnx

from jaxmusic.nn.cell import Carry
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.run import Run
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.state import PyTree

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ROWS = 16  # songs at a time
CHUNK = 256  # tokens of each at a time
MOST_WINDOWS = 4096  # of songs for the objective `last`, evenly chosen
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class TokenBits:
    """The information of some tokens of a song, in bits (-log2 of their probabilities)."""

    positions: Ints  # (tokens,) in the song
    bits: Floats  # (tokens,)


@dataclass(frozen=True)
class Estimate:
    """A mean over songs and its interval (of CONFIDENCE; NaN where there is only one song)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class KindBits:
    """The information in the tokens of one kind."""

    tokens: int
    bits_per_token: float
    bits_per_note: float  # their part of a note's


@dataclass(frozen=True)
class Likelihood:
    """The information of songs by model, in bits; lower is better."""

    songs: int
    tokens: int  # that were predicted
    left_out: int  # tokens that the run doesn't know
    models: dict[str, dict[str, Estimate]]  # by model, then by unit
    kinds: dict[str, KindBits]  # of the network
    gain: dict[str, Estimate]  # by unit: the best n-gram's bits less the network's


def network_bits(
    run: Run, songs: Sequence[Ints], *, allowed: npt.NDArray[np.bool_] | None = None
) -> list[TokenBits]:
    """The information of songs' tokens under a run's network, in evaluation mode.

    With the objective `every`, that of each token but the first, after all before it: the LSTM
    state is carried through the whole song. With `last`, each token after a window of its own, as
    in training: of windows inside songs, `stride` tokens apart, at most MOST_WINDOWS in all.

    Args:
        songs: ids (tokens,) of each song in the run's vocabulary.
        allowed: which token may follow which, (vocabulary, vocabulary), rows by the token before:
            all others get the probability 0 (with the objective `every`).
    """
    if run.config.model.objective == "every":
        return _whole_songs(run, songs, allowed)
    return _windows(run, songs)


@pinned_settings()
def _whole_songs(
    run: Run, songs: Sequence[Ints], allowed: npt.NDArray[np.bool_] | None
) -> list[TokenBits]:
    config = run.config.model
    found = [TokenBits(np.arange(1, len(song)), np.zeros(max(len(song) - 1, 0))) for song in songs]
    by_length = sorted(range(len(songs)), key=lambda index: -len(songs[index]))
    for first in range(0, len(by_length), ROWS):
        chosen = by_length[first : first + ROWS]
        rows = np.zeros((ROWS, len(songs[chosen[0]])), np.int32)
        for row, index in enumerate(chosen):
            rows[row, : len(songs[index])] = songs[index]
        zeros = jnp.zeros((ROWS, config.hidden_size), jnp.float32)
        carries: tuple[Carry, ...] = (Carry(zeros, zeros),) * config.layers
        for start in range(0, rows.shape[1] - 1, CHUNK):
            part = rows[:, start : start + CHUNK + 1]
            part = np.pad(part, [(0, 0), (0, CHUNK + 1 - part.shape[1])])
            losses, carries = _chunk_losses(
                run.params, run.batch_stats, part, carries, allowed, graphdef=run.graphdef
            )
            host = np.asarray(losses, np.float64) / np.log(2)
            for row, index in enumerate(chosen):
                target = found[index].bits[start : start + CHUNK]
                target[:] = host[row, : len(target)]
    return found


@partial(jax.jit, static_argnames="graphdef")
def _chunk_losses(
    params: PyTree,
    batch_stats: PyTree,
    rows: jax.Array,
    carries: tuple[Carry, ...],
    allowed: jax.Array | None,
    *,
    graphdef: nnx.GraphDef[MusicLSTM],
) -> tuple[jax.Array, tuple[Carry, ...]]:
    """Losses in nats (batch, time) of each token of rows (batch, time + 1) but the first."""
    model = nnx.merge(graphdef, params, batch_stats)
    features, after = model.recur(rows[:, :-1], carries=carries)
    logits = model.head(features)
    if allowed is not None:
        logits = jnp.where(allowed[rows[:, :-1]], logits, -jnp.inf)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, rows[:, 1:])
    return losses, after


def _windows(run: Run, songs: Sequence[Ints]) -> list[TokenBits]:
    window, stride = run.config.data.window, run.config.data.stride
    ends = [np.arange(window, len(song), stride) for song in songs]
    owners = np.repeat(np.arange(len(songs)), [len(each) for each in ends])
    targets = np.concatenate([*ends, np.zeros(0)]).astype(np.int64)
    count = min(MOST_WINDOWS, len(targets))
    chosen = (np.arange(count) * len(targets)) // max(count, 1)
    owners, targets = owners[chosen], targets[chosen]
    bits = np.zeros(count)
    batch = run.config.train.batch_size
    for start in range(0, count, batch):
        pairs = list(
            zip(owners[start : start + batch], targets[start : start + batch], strict=True)
        )
        rows = np.stack([songs[owner][end - window : end] for owner, end in pairs])
        padded = np.pad(rows, [(0, min(batch, count) - len(rows)), (0, 0)])
        logits = run.logits(padded)[: len(rows)].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        ids = [songs[owner][end] for owner, end in pairs]
        nats = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(rows)), ids]
        bits[start : start + batch] = nats / np.log(2)
    return [
        TokenBits(targets[owners == index], bits[owners == index]) for index in range(len(songs))
    ]


def count_units(
    scored: Sequence[TokenBits], lengths: Sequence[int], counts: Mapping[str, Sequence[float]]
) -> dict[str, Floats]:
    """By unit, how many of each song belong to its scored tokens: (songs,) each.

    Args:
        lengths: tokens of each song.
        counts: of each song its notes, quarters, ...; where not all tokens but the first are
            scored, the same share of these counts.
    """
    tokens = np.array([len(each.bits) for each in scored], np.float64)
    all_tokens = np.maximum(np.array(lengths, np.float64) - 1, 1)
    return {
        "token": tokens,
        **{unit: np.array(each, np.float64) * tokens / all_tokens for unit, each in counts.items()},
    }


def estimate(totals: Floats, units: Floats) -> Estimate:
    """The sum of `totals` (songs,) by that of `units` (songs,), and its interval.

    The interval is that of the percentile bootstrap over songs (Efron 1979): songs are drawn with
    replacement, as another set of songs would have been.
    """
    whole = units.sum()
    value = float(totals.sum() / whole) if whole > 0 else np.nan
    songs = len(totals)
    if songs < 2 or whole <= 0:
        return Estimate(value, np.nan, np.nan)
    draws = np.random.default_rng(0).multinomial(songs, np.full(songs, 1 / songs), RESAMPLES)
    sums = draws @ units
    ratios = (draws @ totals)[sums > 0] / sums[sums > 0]
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, [outside, 1 - outside])
    return Estimate(value, float(low), float(high))
