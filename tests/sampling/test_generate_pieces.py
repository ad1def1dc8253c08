"""Where pieces begin and end, and what is never in them: with initial weights, scheme `timed`."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.untrained import untrained_run

from jaxmusic.config import ConfigError
from jaxmusic.midi.writer import TICKS_PER_QUARTER
from jaxmusic.run import Run
from jaxmusic.sampling.choice import SamplingConfig
from jaxmusic.sampling.generate import generate, generate_pieces
from jaxmusic.tokenizers.tokenizer import get_tokenizer, transpose_tokens
from jaxmusic.tokenizers.vocabulary import Vocabulary

pytestmark = pytest.mark.slow  # they compile

TIMED = get_tokenizer("timed")
CLASSIC = Vocabulary.of(["C4", "D4", "E4", "F4", "G4", "A4", "B4", "0.4.7", "7.11.2"])


@pytest.fixture(scope="module")
def timed() -> Run:
    return untrained_run(Vocabulary.of(TIMED.fixed_vocabulary() or [], "timed"))


@pytest.fixture(scope="module")
def classic() -> Run:
    return untrained_run(CLASSIC, objective="last")


def test_pieces_begin_from_nothing_follow_the_grammar_and_end_by_themselves(timed: Run) -> None:
    pieces = generate_pieces(timed, length=700, count=12, seed=1)
    assert {piece.ended for piece in pieces} == {True, False}
    for piece in pieces:
        assert 1 <= len(piece.tokens) <= 700 and piece.ended == (len(piece.tokens) < 700)
        assert "end" not in piece.tokens
        for before, token in pairwise(["end", *piece.tokens]):
            assert TIMED.may_follow(before, token), (before, token)


def test_masked_probability_is_the_mean_over_a_pieces_steps(timed: Run) -> None:
    """Against the logits of the whole piece, from its first token to the one that ends it."""
    piece = min(generate_pieces(timed, length=700, count=12, seed=1), key=lambda p: len(p.tokens))
    assert piece.ended
    tokens = ["end", *piece.tokens]
    model = nnx.merge(timed.graphdef, timed.params, timed.batch_stats)
    logits = jax.jit(model)(jnp.asarray(timed.vocabulary.encode(tokens)[None], jnp.int32))[0]
    probabilities = np.asarray(jax.nn.softmax(logits))
    masked = [
        sum(p for p, after in zip(row, timed.vocabulary.tokens, strict=True)
            if not TIMED.may_follow(before, after))
        for before, row in zip(tokens, probabilities, strict=True)
    ]  # fmt: skip
    assert piece.masked_probability == pytest.approx(np.mean(masked), rel=1e-4)


def test_a_piece_is_the_same_whatever_the_count(timed: Run, classic: Run) -> None:
    """From nothing, and from random windows."""
    assert generate(classic, length=40, seed=3) == generate(classic, length=40, count=3, seed=3)[:1]
    nothing, window = (
        generate(timed, length=40, count=2, seed=3, from_window=from_window)
        for from_window in (False, True)
    )
    assert generate(timed, length=40, seed=3) == nothing[:1]
    assert generate(timed, length=40, seed=3, from_window=True) == window[:1]
    assert nothing != window


def test_a_piece_longer_than_a_call_of_the_loop(classic: Run) -> None:
    (long,) = generate(classic, length=1100, seed=2)
    (short,) = generate(classic, length=511, seed=2)
    assert len(long) == 1100 and long[:511] == short


@pytest.mark.parametrize("quarters", [0.25, 3.0, 20.0])
def test_quarters_end_a_piece_before_the_note_that_is_too_late(
    timed: Run, classic: Run, quarters: float
) -> None:
    for run in (timed, classic):
        tokenizer = get_tokenizer(run.vocabulary.scheme)
        pieces = generate(run, quarters=quarters, count=3, seed=5)
        whole = generate(run, length=500, count=3, seed=5)
        for piece, longer in zip(pieces, whole, strict=True):
            assert longer[: len(piece)] == piece
            for tokens, late in ((piece, False), (longer[: len(piece) + 1], True)):
                onsets = [n.start for track in tokenizer.decode(tokens, step=0.5) for n in track]
                assert any(onset >= quarters * TICKS_PER_QUARTER for onset in onsets) == late
    (exact,) = generate(classic, quarters=3.0)
    assert len(exact) == 6
    assert len(generate(classic, quarters=100.0, length=7)[0]) == 7


def test_a_prime_in_another_key_gives_the_music_in_that_key(classic: Run) -> None:
    prime = classic.vocabulary.decode(classic.primers[4])
    expected = generate(classic, length=30, prime=prime, seed=6)
    logged: list[str] = []
    for semitones in (3, -2):
        other = transpose_tokens(prime, semitones)
        (piece,) = generate(classic, length=30, prime=other, seed=6, log=logged.append)
        assert piece == transpose_tokens(expected[0], semitones)
    assert len(logged) == 2


def test_the_device_changes_nothing(classic: Run) -> None:
    sampling = SamplingConfig(temperature=2.0)
    first = generate(classic, length=40, count=3, seed=7, sampling=sampling)
    with jax.default_device(jax.devices()[-1]):
        assert generate(classic, length=40, count=3, seed=7, sampling=sampling) == first


@pytest.mark.raises_at("jaxmusic/sampling/generate.py:_checked_length", "quarters")
def test_quarters_out_of_range_are_told(classic: Run) -> None:
    for quarters in (0.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="quarters, but must be above 0"):
            generate(classic, quarters=quarters)
