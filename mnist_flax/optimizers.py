"""The optimizer and its learning rate, built from ``config.optimizer``."""

import math
from typing import Literal

import optax

from mnist_flax.checks import require

# Names of Optax's own; each needs a learning rate and nothing else.
Name = Literal[
    'adabelief', 'adagrad', 'adam', 'adamax', 'adamw', 'lamb', 'lion', 'nadam', 'radam',
    'rmsprop', 'sgd', 'yogi',
]  # fmt: skip


def create_optimizer(
    name: Name,
    learning_rate: float,
    schedule: Literal['constant', 'cosine'],
    num_steps: int,
) -> optax.GradientTransformation:
    """Makes an Optax optimizer by its name.

    Args:
      name: Its name in `optax`.
      learning_rate: Step size at the start.
      schedule: ``'constant'`` keeps it; ``'cosine'`` lets it fall to 0 along half a
        period of a cosine, as in Loshchilov & Hutter 2017, arXiv 1608.03983.
      num_steps: Steps of the whole training, at the end of which the cosine reaches 0.

    Returns:
      The gradient transformation.

    Raises:
      UserError: The learning rate makes no sense.
    """
    require(
        math.isfinite(learning_rate) and learning_rate > 0,
        f'config.optimizer.learning_rate: found {learning_rate}; allowed: a positive, '
        'finite number',
    )
    if schedule == 'cosine':
        return getattr(optax, name)(optax.cosine_decay_schedule(learning_rate, num_steps))
    return getattr(optax, name)(learning_rate)
