"""Early stopping: how long ago the held-out loss was at its lowest."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike


class EarlyStopping(NamedTuple):
    """What early stopping knows of the epochs so far: it lies in the checkpoint."""

    lowest: ArrayLike  # () float32: held-out loss of the best epoch so far
    epochs: ArrayLike  # () int32: since that one

    @classmethod
    def start(cls) -> "EarlyStopping":
        """Before the first epoch."""
        return cls(np.float32(np.inf), np.int32(0))

    def after_epoch(self, loss: float) -> "EarlyStopping":
        """With another epoch's held-out loss. NaN is no improvement, nor is the same loss again."""
        lowest, epochs = np.asarray(self.lowest), np.asarray(self.epochs)
        if np.float32(loss) < lowest:
            return EarlyStopping(np.float32(loss), np.int32(0))
        return EarlyStopping(lowest, np.int32(epochs + 1))
