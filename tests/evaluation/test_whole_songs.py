"""Evaluation on whole songs, against the network run over each song at once."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmusic.config import Config, DataConfig, ModelConfig, TrainConfig
from jaxmusic.data.songs.windows import SongWindows
from jaxmusic.data.token_map import TokenMap
from jaxmusic.distributed.mesh import make_mesh, replicate
from jaxmusic.evaluation.whole_songs import WholeSongEvaluator
from jaxmusic.tokenizers.vocabulary import Vocabulary
from jaxmusic.training.state import TrainState, model_graphdef, new_state

pytestmark = pytest.mark.slow  # compiles the network for each length

VOCABULARY, WINDOW = 12, 6
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, size=80, dtype=np.uint16)
# 30 tokens, two, 13 (whole windows alone), one: not used, and 28.
SONGS = [(0, 30), (30, 32), (35, 48), (48, 49), (52, 80)]
CONFIG = Config(
    data=DataConfig(window=WINDOW, stride=WINDOW, across_songs=False, carry_state=True),
    model=ModelConfig(hidden_size=8, dense_size=6, layers=2, objective="every"),
    train=TrainConfig(batch_size=3),
)


def make_state() -> TrainState:
    """With batch statistics that differ from the initial ones, as evaluation uses them."""
    state = new_state(CONFIG, VOCABULARY)
    rng = np.random.default_rng(1)
    stats = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), state.batch_stats
    )
    return state._replace(batch_stats=stats)


def expected_loss(state: TrainState) -> float:
    """The mean over all targets, each song in one piece."""
    model = nnx.merge(model_graphdef(CONFIG, VOCABULARY), state.params, state.batch_stats)
    losses = []
    for start, stop in SONGS:
        song = TOKENS[start:stop].astype(int)
        if len(song) > 1:
            logits = np.asarray(model(jnp.asarray(song[None, :-1])), np.float64)[0]
            chosen = logits[np.arange(len(song) - 1), song[1:]]
            losses.append(np.log(np.exp(logits).sum(axis=1)) - chosen)
    return float(np.concatenate(losses).mean())


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_loss_is_the_mean_over_all_targets_of_whole_songs(batch_size: int) -> None:
    config = replace(CONFIG, train=TrainConfig(batch_size=batch_size))
    mesh = make_mesh(1)
    vocabulary = Vocabulary.of([str(number) for number in range(VOCABULARY)], "classic")
    evaluator = WholeSongEvaluator(
        config, VOCABULARY, SongWindows(TOKENS, SONGS, WINDOW), TokenMap(vocabulary, None), mesh
    )
    state = make_state()
    evaluator.compile(replicate(state, mesh))
    found = evaluator.evaluate(replicate(state, mesh), should_stop=lambda: False)
    assert found is not None and set(found) == {"held_out_loss"}
    assert found["held_out_loss"] == pytest.approx(expected_loss(state), rel=1e-6)
    asked = iter([False, True])
    assert evaluator.evaluate(state, should_stop=lambda: next(asked)) is None
