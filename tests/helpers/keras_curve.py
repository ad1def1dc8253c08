"""The loss of 50 steps of RMSprop on real windows, ours and Keras's: a program of its own.

    KERAS_BACKEND=jax python keras_curve.py
    KERAS_BACKEND=jax JAX_ENABLE_X64=true python keras_curve.py

print both curves as JSON, in float32 and in float64. It is a process because whether JAX has
64-bit numbers is settled when it starts.
"""

import json
from functools import partial

import jax
import jax.numpy as jnp
import keras
import numpy as np
from helpers.keras_oracle import KerasOracle
from helpers.paths import MIDI_SONGS
from keras.src.backend.common import dtypes

from jaxmusic.config import Config, ModelConfig
from jaxmusic.data.batch_sampler import BatchSampler
from jaxmusic.data.windows import Windows
from jaxmusic.tokenizers.tokenizer import read_tokens
from jaxmusic.tokenizers.vocabulary import Vocabulary
from jaxmusic.training.optimizer import make_optimizer
from jaxmusic.training.state import PyTree, TrainState, model_graphdef, new_state
from jaxmusic.training.step import train_step

STEPS = 50
FLOAT = jnp.result_type(float).name

if FLOAT == "float64":
    keras.config.set_floatx("float64")
    # Outside TensorFlow Keras rounds float64 to float32 inside tanh and others; let it not.
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"


def as_floatx(tree: PyTree) -> PyTree:
    """The same numbers, all floats of the width asked for."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, FLOAT) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        tree,
    )


def main() -> None:
    """Train both from the same weights on the same batches."""
    songs = sorted(MIDI_SONGS.glob("*.mid"))[:6]
    tokens = [token for path in songs for token in read_tokens(path)]
    vocabulary = Vocabulary.of(tokens)
    stream = vocabulary.encode(tokens)
    sampler = BatchSampler(Windows(stream, [(0, len(stream))], 100), 16, seed=1)
    config = Config(
        model=ModelConfig(hidden_size=32, dense_size=48, dropout=0, recurrent_dropout=0)
    )
    state: TrainState = as_floatx(new_state(config, len(vocabulary)))
    oracle = KerasOracle(config.model, len(vocabulary), 100)
    oracle.set_weights(state.params, state.batch_stats)
    oracle.model.compile(optimizer=keras.optimizers.RMSprop(), loss="categorical_crossentropy")
    do_step = jax.jit(
        partial(
            train_step,
            graphdef=model_graphdef(config, len(vocabulary)),
            optimizer=make_optimizer(config.train),
            seed=0,
            steps_per_epoch=sampler.steps_per_epoch,
        )
    )
    ours, theirs = [], []
    for step in range(STEPS):
        batch = as_floatx(sampler.batch(step))
        state, loss = do_step(state, batch)
        ours.append(float(loss))
        one_hot = np.eye(len(vocabulary), dtype=FLOAT)[batch.targets]
        oracle.model.reset_metrics()
        theirs.append(float(oracle.model.train_on_batch(oracle.inputs(batch.inputs), one_hot)))
    print(json.dumps({"ours": ours, "theirs": theirs}))


if __name__ == "__main__":
    main()
