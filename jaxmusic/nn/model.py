"""The network: the notebooks' stack in Flax, and its variations."""

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmusic.config import ModelConfig, Precision, RecurrenceName
from jaxmusic.nn.cell import Carry, Weights
from jaxmusic.nn.dropout import Masks, draw_masks
from jaxmusic.nn.lstm import run_lstm_stack
from jaxmusic.nn.products import DOT_GENERAL, dot

BATCH_NORM_EPSILON = 1e-3  # Keras's default, which the notebooks use


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


class TiedOutput(nnx.Module):
    """An output layer whose kernel is the embedding (Press and Wolf 2017; Inan et al. 2017)."""

    def __init__(self, vocabulary_size: int) -> None:
        self.bias = nnx.Param(jnp.zeros(vocabulary_size))

    def __call__(self, x: jax.Array, embedding: jax.Array, precision: Precision) -> jax.Array:
        """Logits of (..., features), by the embedding (vocabulary, features)."""
        return dot(x, embedding.T, precision) + self.bias[...]


class MusicLSTM(nnx.Module):
    """LSTM layers, batch norm, dropout, dense, relu, batch norm, dropout, output.

    Without a dense layer: LSTM layers, batch norm, dropout, output. Batch norm may be left out.

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

        size = config.hidden_size
        if config.batch_norm:
            self.norm_lstm = batch_norm(size)
        if config.dense_size:
            self.dense = linear(size, config.dense_size)
            size = config.dense_size
            if config.batch_norm:
                self.norm_dense = batch_norm(size)
        self.projects = config.tied_output and size != features
        if self.projects:
            self.projection = linear(size, features)
        self.output = (
            TiedOutput(vocabulary_size) if config.tied_output else linear(size, vocabulary_size)
        )

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
        if masks is not None and masks.tokens is not None:
            x = x * masks.tokens
        h, after = run_lstm_stack(
            x,
            self._lstm_weights(masks),
            carries=carries,
            masks=None if masks is None else masks.recurrent,
            input_masks=None if masks is None else masks.inputs,
            precision=self.precision,
            recurrence=self.recurrence,
        )
        # The last h as the carry has it: of the sequence nothing is needed, nor is its gradient.
        features = h if self.config.objective == "every" else after[-1].h
        if masks is not None and masks.lstm_output is not None:
            mask = masks.lstm_output
            features = features * (mask[:, None] if features.ndim == 3 else mask)
        return features, after

    def _lstm_weights(self, masks: Masks | None) -> list[Weights]:
        """The weights of each layer, without the recurrent ones that a step leaves out."""
        every = [layer.weights for layer in self.lstm]
        if masks is None or masks.recurrent_kernels is None:
            return every
        return [
            weights
            if mask is None
            else weights._replace(recurrent_kernel=weights.recurrent_kernel * mask)
            for weights, mask in zip(every, masks.recurrent_kernels, strict=True)
        ]

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
        config = self.config
        if config.batch_norm:
            x = self.norm_lstm(x, use_running_average=not training, mask=counted)
        if config.dense_size:
            if masks is not None and masks.dense is not None:
                x = x * masks.dense
            x = jax.nn.relu(self.dense(x))
            if config.batch_norm:
                x = self.norm_dense(x, use_running_average=not training, mask=counted)
        if masks is not None and masks.output is not None:
            x = x * masks.output
        if self.projects:
            x = self.projection(x)
        if isinstance(self.output, TiedOutput):
            return self.output(x, self.embedding.embedding[...], self.precision)
        logits: jax.Array = self.output(x)
        return logits

    def draw_masks(self, key: jax.Array, batch: int, window: int) -> Masks:
        """The dropout of one step on a batch of windows, by the network's settings."""
        return draw_masks(self.config, key, batch, window)
