"""The tokens so far: open windows against whole ones, in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxmusic.config import ModelConfig
from jaxmusic.nn.model import MusicLSTM
from jaxmusic.sampling.context import Context, open_windows, whole_windows

WINDOW = 6
VOCABULARY = 9


def network(kind: str) -> MusicLSTM:
    config = ModelConfig(
        input="embedding" if kind == "embedding" else "scalar",
        embedding_size=3, hidden_size=7, dense_size=5, layers=2,
    )  # fmt: skip
    model = MusicLSTM(config, VOCABULARY, rngs=nnx.Rngs(3))
    graphdef, state = nnx.split(model)
    # Larger than they are drawn: what is forgotten otherwise, shows.
    state = jax.tree.map(lambda array: 3.0 * array.astype(jnp.float64), state)
    model = nnx.merge(graphdef, state)
    if kind == "embedding":
        model.embedding.dtype = jnp.float64
    return model


def logits_of(context: Context, primers: jax.Array, tokens: jax.Array) -> np.ndarray:
    """Logits after the primers, and after each of the tokens (time, pieces)."""

    @jax.jit
    def run(primers: jax.Array, tokens: jax.Array) -> jax.Array:
        def step(state: Any, each: jax.Array) -> tuple[Any, jax.Array]:
            state = context.advance(state, each)
            return state, context.logits(state)

        state = context.begin(primers)
        _, after = lax.scan(step, state, tokens)
        return jnp.concatenate([context.logits(state)[None], after])

    return np.asarray(run(primers, tokens))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "embedding"])
@pytest.mark.parametrize("length", [2, WINDOW, 3 * WINDOW + 2])
def test_open_windows_have_the_logits_of_whole_ones(kind: str, length: int) -> None:
    """For fewer tokens than a window has, and on past the slots' second turn."""
    random = np.random.default_rng(length)
    with jax.enable_x64(True):
        model = network(kind)
        primers = jnp.asarray(random.integers(VOCABULARY, size=(2, WINDOW)))
        tokens = jnp.asarray(random.integers(VOCABULARY, size=(length - 1, 2)))
        found = logits_of(open_windows(model, WINDOW, min(WINDOW, length)), primers, tokens)
        expected = logits_of(whole_windows(model), primers, tokens)
    assert found.dtype == np.float64
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_windows_that_are_not_read_are_not_computed() -> None:
    context = open_windows(MusicLSTM(ModelConfig(hidden_size=7), 9, rngs=nnx.Rngs(0)), WINDOW, 2)
    primers = jax.ShapeDtypeStruct((3, WINDOW), jnp.int32)
    state = jax.eval_shape(context.begin, primers)
    assert {carry.h.shape for carry in state.carries} == {(2, 3, 7)}
