"""The optimizer, built from ``config.optimizer``."""

import inspect
import math

import optax

from mnist_flax.checks import require


def create_optimizer(name: str, learning_rate: float) -> optax.GradientTransformation:
    """Makes an Optax optimizer by its name.

    Args:
      name: Any of `optax`'s optimizers that needs nothing but a learning rate.
      learning_rate: Step size, the same throughout training.

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
    return getattr(optax, name)(learning_rate)


def optimizer_names() -> list[str]:
    """Lists the optimizers of `optax` that need nothing but a learning rate."""
    return [
        name
        for name, function in inspect.getmembers(optax, inspect.isfunction)
        if not name.startswith('scale_by_')
        and _required_parameters(function) == ['learning_rate']
        and inspect.signature(function).return_annotation
        in (optax.GradientTransformation, optax.GradientTransformationExtraArgs)
    ]


def _required_parameters(function) -> list[str]:
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind
        not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]
