"""Evaluation metrics, by name.

To add one, write a function from logits and targets to a value for each window, and enter it in
the table.
"""

from collections.abc import Callable

import jax

from jaxmusic.training.step import window_losses

# From logits (batch, vocabulary) and targets (batch,), or (batch, window, vocabulary) and
# (batch, window), to (batch,). An epoch's row in metrics.jsonl has the means under these names.
Metric = Callable[[jax.Array, jax.Array], jax.Array]

HELD_OUT_LOSS = "held_out_loss"  # the best checkpoint has the lowest
METRICS: dict[str, Metric] = {HELD_OUT_LOSS: window_losses}
