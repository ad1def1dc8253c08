"""A run with initial weights, without a folder: for tests that need no training."""

from pathlib import Path

import jax
import numpy as np

from jaxmusic.config import Config, DataConfig, ModelConfig, Objective
from jaxmusic.run import Run
from jaxmusic.tokenizers.vocabulary import Vocabulary
from jaxmusic.training.jax_settings import pinned_settings
from jaxmusic.training.state import new_state


@pinned_settings()
def untrained_run(
    vocabulary: Vocabulary, *, window: int = 8, objective: Objective = "every"
) -> Run:
    """Its weights are larger than initial ones, so that tokens matter; its primers are random."""
    config = Config(
        data=DataConfig(window=window, scheme=vocabulary.scheme),
        model=ModelConfig(
            input="embedding", embedding_size=6, hidden_size=8, layers=1, dense_size=6,
            objective=objective,
        ),
    )  # fmt: skip
    state = new_state(config, len(vocabulary))
    random = np.random.default_rng(0)
    return Run(
        path=Path("untrained"),
        config=config,
        vocabulary=vocabulary,
        step=0,
        params=jax.tree.map(lambda array: 2 * np.asarray(array), state.params),
        batch_stats=jax.tree.map(np.asarray, state.batch_stats),
        primers=random.integers(len(vocabulary), size=(20, window)),
    )
