"""The optimizer and its learning rate, built from ``config.optimizer``."""

import inspect
import math
from typing import Literal

import optax

from mnist_flax.checks import require


def create_optimizer(
    name: str, learning_rate: float, schedule: Literal['constant', 'cosine'], num_steps: int
) -> optax.GradientTransformation:
    """Makes an Optax optimizer by its name.

    Args:
      name: One of `optimizer_names`.
      learning_rate: Step size at the start.
      schedule: ``'constant'`` keeps it; ``'cosine'`` lets it fall to 0 along half a
        period of a cosine, as in Loshchilov & Hutter 2017, arXiv 1608.03983.
      num_steps: Steps of the whole training, at the end of which the cosine reaches 0.

    Returns:
      The gradient transformation.

    Raises:
      UserError: There is no such optimizer, or the learning rate makes no sense.
    """
    allowed = optimizer_names()
    require(
        name in allowed,
        f'config.optimizer.name: found {name!r}; allowed: {", ".join(allowed)}',
    )
    require(
        math.isfinite(learning_rate) and learning_rate > 0,
        f'config.optimizer.learning_rate: found {learning_rate}; allowed: a positive, '
        'finite number',
    )
    if schedule == 'cosine':
        return getattr(optax, name)(optax.cosine_decay_schedule(learning_rate, num_steps))
    return getattr(optax, name)(learning_rate)


def optimizer_names() -> list[str]:
    """Lists Optax's optimizers that need a learning rate, or a schedule, and no more."""
    return [
        name
        for name, function in inspect.getmembers(optax, inspect.isfunction)
        if _needs_only_a_learning_rate(inspect.signature(function))
    ]


def _needs_only_a_learning_rate(signature: inspect.Signature) -> bool:
    required = [
        (parameter.name, parameter.annotation)
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    transformations = (optax.GradientTransformation, optax.GradientTransformationExtraArgs)
    return (
        required == [('learning_rate', optax.ScalarOrSchedule)]
        and signature.return_annotation in transformations
    )
