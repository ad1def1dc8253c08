"""The network: the notebooks' stack in Flax, and its two variations (input, objective)."""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmusic.config import ModelConfig, Precision, RecurrenceName
from jaxmusic.nn.cell import Carry, Weights
from jaxmusic.nn.lstm import run_lstm_stack
from jaxmusic.nn.products import DOT_GENERAL

BATCH_NORM_EPSILON = 1e-3  # Keras's default, which the notebooks use


class Masks(NamedTuple):
    """What dropout multiplies with in one step: 0, or 1 / (1 - rate). None: no dropout there."""

    recurrent: tuple[jax.Array | None, ...]  # a layer each, (batch, 4, hidden)
    dense: jax.Array | None  # before the dense layer, shaped as its input
    output: jax.Array | None  # before the output layer, shaped as its input


class LSTMLayer(nnx.Module):
    """The weights of one LSTM layer, drawn as Keras draws them."""

    def __init__(self, features: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        glorot = jax.nn.initializers.glorot_uniform()
        orthogonal = jax.nn.initializers.orthogonal()
        self.kernel = nnx.Param(glorot(rngs.params(), (features, 4 * hidden)))
        self.recurrent_kernel = nnx.Param(orthogonal(rngs.params(), (hidden, 4 * hidden)))
        # A forget gate that starts open lets early gradients through (Jozefowicz et al. 2015).
        self.bias = nnx.Param(jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(1.0))

    @property
    def weights(self) -> Weights:
        """As the recurrence takes them."""
        return Weights(self.kernel[...], self.recurrent_kernel[...], self.bias[...])


class MusicLSTM(nnx.Module):
    """LSTM layers, batch norm, dropout, dense, relu, batch norm, dropout, output.

    Evaluation uses batch norm's moving averages and no dropout. Training uses the batch's own
    statistics, moves the averages, and takes its dropout as masks that `draw_masks` makes: so
    no random state hides in the module, and a test can give another library the same masks.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary_size: int,
        *,
        precision: Precision = "f32",
        recurrence: RecurrenceName = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.precision: Precision = precision
        self.recurrence: RecurrenceName = recurrence
        glorot = jax.nn.initializers.glorot_uniform()
        features = 1
        if config.input == "embedding":
            features = config.embedding_size
            self.embedding = nnx.Embed(
                vocabulary_size,
                features,
                embedding_init=jax.nn.initializers.normal(features**-0.5),
                rngs=rngs,
            )
        sizes = [features, *[config.hidden_size] * config.layers]
        self.lstm = nnx.List(
            [LSTMLayer(before, after, rngs=rngs) for before, after in pairwise(sizes)]
        )

        def batch_norm(size: int) -> nnx.BatchNorm:
            return nnx.BatchNorm(
                size,
                momentum=config.batch_norm_momentum,
                epsilon=BATCH_NORM_EPSILON,
                use_fast_variance=False,
                rngs=rngs,
            )

        def linear(size_in: int, size_out: int) -> nnx.Linear:
            return nnx.Linear(
                size_in,
                size_out,
                kernel_init=glorot,
                dot_general=DOT_GENERAL[precision],
                rngs=rngs,
            )

        self.norm_lstm = batch_norm(config.hidden_size)
        self.dense = linear(config.hidden_size, config.dense_size)
        self.norm_dense = batch_norm(config.dense_size)
        self.output = linear(config.dense_size, vocabulary_size)

    def __call__(
        self,
        ids: jax.Array,
        *,
        training: bool = False,
        masks: Masks | None = None,
        weights: jax.Array | None = None,
    ) -> jax.Array:
        """Logits for windows of token ids.

        Args:
            ids: (batch, window), any integer type.
            training: whether batch norm uses (and remembers) the batch's statistics.
            masks: dropout, from `draw_masks`.
            weights: (batch,), 0 for rows that only fill the batch up, or (batch, window), 0 for
                padding: they count for nothing in batch norm's statistics.

        Returns:
            (batch, vocabulary) for the objective `last`; (batch, window, vocabulary) for `every`.
        """
        features, _ = self.recur(ids, masks=masks)
        return self.head(features, training=training, masks=masks, weights=weights)

    def recur(
        self,
        ids: jax.Array,
        *,
        carries: tuple[Carry, ...] | None = None,
        masks: Masks | None = None,
    ) -> tuple[jax.Array, tuple[Carry, ...]]:
        """The LSTM layers alone: what `head` takes, and each layer's carry after the last step.

        What `head` takes is the last step's (batch, hidden) for the objective `last`, every
        step's (batch, time, hidden) for `every`. `carries` are those before the first step.
        """
        if self.config.input == "embedding":
            x = self.embedding(ids.astype(jnp.int32))
        else:
            dtype = self.lstm[0].kernel[...].dtype
            x = ids.astype(dtype)[..., None] / self.vocabulary_size
        h, after = run_lstm_stack(
            x,
            [layer.weights for layer in self.lstm],
            carries=carries,
            masks=None if masks is None else masks.recurrent,
            precision=self.precision,
            recurrence=self.recurrence,
        )
        # The last h as the carry has it: of the sequence nothing is needed, nor is its gradient.
        return (h if self.config.objective == "every" else after[-1].h), after

    def head(
        self,
        x: jax.Array,
        *,
        training: bool = False,
        masks: Masks | None = None,
        weights: jax.Array | None = None,
    ) -> jax.Array:
        """The layers after the LSTM layers: logits, shaped as `x` but for its last axis."""
        counted = None
        if weights is not None:
            counted = (weights > 0).reshape(*weights.shape, *[1] * (x.ndim - weights.ndim))
        x = self.norm_lstm(x, use_running_average=not training, mask=counted)
        if masks is not None and masks.dense is not None:
            x = x * masks.dense
        x = jax.nn.relu(self.dense(x))
        x = self.norm_dense(x, use_running_average=not training, mask=counted)
        if masks is not None and masks.output is not None:
            x = x * masks.output
        logits: jax.Array = self.output(x)
        return logits

    def draw_masks(self, key: jax.Array, batch: int, window: int) -> Masks:
        """The dropout of one step on a batch of windows.

        Each mask has the batch as its first axis, and JAX draws every element from its place
        in the array alone: a row's masks are the same in a batch of any size, on any number
        of devices.
        """
        config = self.config
        key_dense, key_output, *keys = jax.random.split(key, 2 + config.layers)
        # As in the notebooks, the last LSTM layer has no recurrent dropout.
        recurrent = [
            _draw_mask(key, config.recurrent_dropout, (batch, 4, config.hidden_size))
            for key in keys[:-1]
        ]
        positions = (window,) if config.objective == "every" else ()
        return Masks(
            recurrent=(*recurrent, None),
            dense=_draw_mask(key_dense, config.dropout, (batch, *positions, config.hidden_size)),
            output=_draw_mask(key_output, config.dropout, (batch, *positions, config.dense_size)),
        )


def _draw_mask(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array | None:
    if rate == 0:
        return None
    kept = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(kept, 1 / (1 - rate), 0.0)
