"""What a piece begins with: a prime in any key, with any tokens."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from jaxmusic.config import Config, DataConfig, ModelConfig, Objective
from jaxmusic.run import Run
from jaxmusic.sampling.primer import SamplingError, begins_from_nothing, fit_prime
from jaxmusic.tokenizers.tokenizer import get_tokenizer, transpose_tokens
from jaxmusic.tokenizers.vocabulary import RARE, Vocabulary

SCALE = ["C4", "D4", "E4", "F4", "G4", "0.4.7", "7.11.2"]
WINDOW = 8


def run_of(vocabulary: Vocabulary, objective: Objective = "last") -> Run:
    """A run whose network is not needed."""
    config = Config(
        data=DataConfig(window=WINDOW, scheme=vocabulary.scheme),
        model=ModelConfig(objective=objective),
    )
    return Run(Path(), config, vocabulary, 0, {}, {}, np.zeros((1, WINDOW), int))


def fitted(run: Run, prime: list[str]) -> tuple[list[str], int, list[str]]:
    """The tokens, the semitones, and what was logged."""
    logged: list[str] = []
    ids, semitones = fit_prime(run, prime, logged.append)
    return run.vocabulary.decode(ids), semitones, logged


def test_a_known_prime_stays_as_it_is() -> None:
    run = run_of(Vocabulary.of(SCALE))
    assert fitted(run, ["A9", *SCALE, *SCALE]) == ([*SCALE, *SCALE][-WINDOW:], 0, [])


@pytest.mark.parametrize("semitones", [-13, -1, 4, 24])
def test_a_prime_in_another_key_is_transposed_back(semitones: int) -> None:
    run = run_of(Vocabulary.of(SCALE))
    song = [*SCALE, *SCALE]
    tokens, by, logged = fitted(run, transpose_tokens(song, semitones))
    assert (tokens, by) == (song[-WINDOW:], -semitones)
    assert len(logged) == 1 and f"{-semitones:+} semitones" in logged[0]


def test_the_nearest_key_is_taken() -> None:
    run = run_of(Vocabulary.of(["C4", "E4", "C5"]))
    assert fitted(run, ["E-4"] * WINDOW)[1] == 1
    assert fitted(run, ["A4"] * WINDOW)[1] == 3  # not down by five


def test_unknown_tokens_are_left_out_where_no_key_has_all() -> None:
    """Also what is not a token at all; earlier known tokens fill the window."""
    run = run_of(Vocabulary.of(SCALE))
    song = [*SCALE, *SCALE, "C#4", "B-9"]
    tokens, semitones, logged = fitted(run, song)
    assert (tokens, semitones) == ([*SCALE, *SCALE][-WINDOW:], 0)
    assert len(logged) == 1 and "2 distinct tokens" in logged[0] and "B-9, C#4" in logged[0]


def test_a_carried_state_takes_the_whole_prime() -> None:
    run = run_of(Vocabulary.of(SCALE), "every")
    carried = dataclasses.replace(run.config.data, carry_state=True)
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, data=carried))
    song = SCALE * 5
    assert fitted(run, song) == (song, 0, [])
    assert fitted(run, transpose_tokens(song, 2)[:-1])[:2] == (song[:-1], -2)
    with pytest.raises(SamplingError, match="has 0 tokens, but this run needs 1"):
        fitted(run, [])


def test_unknown_tokens_are_rare_where_the_run_has_that() -> None:
    run = run_of(Vocabulary.of([*SCALE, RARE]))
    song = [*SCALE, "C#4", "B-9"]
    assert fitted(run, song) == ([*SCALE[1:], RARE, RARE][-WINDOW:], 0, [])


def test_a_prime_with_too_few_known_tokens_is_told() -> None:
    run = run_of(Vocabulary.of(SCALE))
    with pytest.raises(SamplingError, match=r"has 7 tokens, but this run needs 8: give a longer"):
        fitted(run, SCALE)
    with pytest.raises(SamplingError, match=r"7 tokens without the 1 .* \(B-9\), but .* 8: give"):
        fitted(run, [*SCALE, "B-9"])
    assert fitted(run_of(Vocabulary.of(SCALE), "every"), SCALE)[0] == SCALE


def test_the_end_of_a_prime_is_not_its_last_token() -> None:
    timed = get_tokenizer("timed")
    run = run_of(Vocabulary.of(timed.fixed_vocabulary() or [], "timed"), "every")
    song = ["end", "note:60", "len:12", "end"]
    assert fitted(run, song)[0] == song[:-1]


def test_pieces_begin_from_nothing_where_songs_have_marks() -> None:
    timed = Vocabulary.of(get_tokenizer("timed").fixed_vocabulary() or [], "timed")
    assert begins_from_nothing(run_of(timed, "every"))
    assert not begins_from_nothing(run_of(timed, "last"))
    assert not begins_from_nothing(run_of(Vocabulary.of(SCALE), "every"))
