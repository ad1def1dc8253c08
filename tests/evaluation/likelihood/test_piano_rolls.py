"""The public measure on piano rolls: exact probabilities of sets of keys."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from jaxmusic.config import Config, DataConfig, ModelConfig, Objective
from jaxmusic.evaluation.likelihood.piano_rolls import ScoreError, score_lines, score_rolls
from jaxmusic.run import Run
from jaxmusic.tokenizers.vocabulary import Vocabulary
from jaxmusic.training.state import new_state

KEYS = (60, 62, 64)


def make_run(pitches: tuple[int, ...] = KEYS, objective: Objective = "every") -> Run:
    """Of a network as it begins, with wider weights than those, so that no two tokens are alike."""
    tokens = ("step", *(f"p{pitch}" for pitch in pitches))
    config = Config(
        data=DataConfig(scheme="piano-roll", window=4),
        model=ModelConfig(
            input="embedding", embedding_size=5, hidden_size=8, dense_size=6, layers=1,
            objective=objective,
        ),
    )  # fmt: skip
    state = new_state(config, len(tokens))
    params = state.params
    params["output"]["kernel"] = 4 * params["output"]["kernel"]
    return Run(
        Path("run"), config, Vocabulary.of(tokens, "piano-roll"), 0, params, state.batch_stats,
        np.zeros((1, 4), np.int64),
    )  # fmt: skip


def roll(*rows: set[int]) -> np.ndarray:
    found = np.zeros((len(rows), 88), bool)
    for number, row in enumerate(rows):
        found[number, [pitch - 21 for pitch in row]] = True
    return found


def subsets(keys: tuple[int, ...]) -> list[set[int]]:
    return [
        {key for key, sounds in zip(keys, pattern, strict=True) if sounds}
        for pattern in product((False, True), repeat=len(keys))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("keys", [(0,), (0, 2, 4)])
def test_the_probabilities_of_all_songs_sum_to_1(keys: tuple[int, ...]) -> None:
    """Of all songs of two rows; in three keys for those of one, which the network knows there."""
    run = make_run() if keys == (0,) else make_run((60, 62, 64, 66, 68))
    songs = [roll(*pair) for pair in product(subsets(KEYS), repeat=2)]
    scores = [score_rolls(run, [song], keys=keys) for song in songs]
    total = sum(np.exp(-2 * score.nats_per_row) for score in scores)
    if len(keys) == 1:
        assert total == pytest.approx(1, rel=1e-5)
    else:  # in each key the network gives some to the keys that only the other ones need
        assert 0.05 < total < 1
        alone = [score_rolls(run, songs[-1:], keys=(key,)).nats_per_row for key in keys]
        assert min(alone) <= scores[-1].nats_per_row <= max(alone)


@pytest.mark.slow
def test_rows_of_all_songs_count_alike() -> None:
    run = make_run()
    songs = [roll({60}, {62, 64}, set()), roll({64})]
    one, other = (score_rolls(run, [song]) for song in songs)
    both = score_rolls(run, songs)
    assert (both.songs, both.rows) == (2, 4)
    assert both.nats_per_row == pytest.approx((3 * one.nats_per_row + other.nats_per_row) / 4)
    # Without each song's first row; its tokens follow nothing but the `step` at the beginning.
    first = score_rolls(run, [roll({60})]).nats_per_row
    rest = (3 * one.nats_per_row - first) / 2
    assert one.nats_per_row_but_first == pytest.approx(rest)
    assert "4 rows of 2 songs (valid)" in score_lines(both, "valid")[0]


def test_the_mean_over_keys_is_that_of_each_tokens_probability() -> None:
    """With one token a row nothing else enters: `step` after `step`."""
    run = make_run((60, 62))
    silent = roll(set())
    (a, b) = (score_rolls(run, [silent], keys=keys).nats_per_row for keys in ((0,), (0, 1)))
    assert a == pytest.approx(b)  # silence is the same in all keys


@pytest.mark.raises_at(
    "jaxmusic/evaluation/likelihood/piano_rolls.py:score_rolls", "has the scheme"
)
def test_other_runs_are_refused() -> None:
    with pytest.raises(ScoreError, match="the objective last, but piano rolls are scored with"):
        score_rolls(make_run(objective="last"), [roll({60})])


@pytest.mark.raises_at("jaxmusic/evaluation/likelihood/piano_rolls.py:_transposed_ids")
def test_keys_that_leave_the_vocabulary_are_refused() -> None:
    with pytest.raises(ScoreError, match=r"Transposed by \+1 semitones, a song has keys that"):
        score_rolls(make_run(), [roll({60})], keys=(0, 1))
