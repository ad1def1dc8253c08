"""Optimizers and learning-rate schedules, by name.

To add one, write its function here, enter it in the table, and give TrainConfig a field with the
names of that table.
"""

from collections.abc import Callable

import optax

from jaxmusic.config import TrainConfig

# A schedule from the settings and the steps of an epoch; an optimizer from that schedule.
Schedule = Callable[[TrainConfig, int], optax.ScalarOrSchedule]
Optimizer = Callable[[optax.ScalarOrSchedule], optax.GradientTransformation]


def constant(config: TrainConfig, steps_per_epoch: int) -> optax.ScalarOrSchedule:
    """The same learning rate at every step."""
    return config.learning_rate


def rmsprop(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """RMSprop as Keras computes it: epsilon inside the square root."""
    return optax.rmsprop(learning_rate, decay=0.9, eps=1e-7, eps_in_sqrt=True)


SCHEDULES: dict[str, Schedule] = {"constant": constant}
OPTIMIZERS: dict[str, Optimizer] = {"rmsprop": rmsprop}


def make_optimizer(
    config: TrainConfig,
    *,
    steps_per_epoch: int = 1,
    optimizer: str = "rmsprop",
    schedule: str = "constant",
) -> optax.GradientTransformation:
    """The optimizer of a training.

    Its initial state does not depend on `steps_per_epoch`, which only schedules use.
    """
    return OPTIMIZERS[optimizer](SCHEDULES[schedule](config, steps_per_epoch))
