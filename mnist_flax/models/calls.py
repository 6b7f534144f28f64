"""How a linen model is called: with which arguments, and what it returns."""

import inspect
from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from mnist_flax.models.cnn import Dropout


class Outputs(NamedTuple):
    """What a model returns."""

    logits: Float[Array, 'batch classes']
    aux: Any = None  # for the loss and the metrics of a step, if there is more


def read_outputs(returned: Any) -> Outputs:
    """Reads what a model returns: logits, or a pair of logits and anything else."""
    if isinstance(returned, tuple) and len(returned) == 2:
        return Outputs(*returned)
    return Outputs(returned)


def eval_arguments(model: nn.Module) -> dict[str, Any]:
    """Lists those of ``train=False, deterministic=True`` that ``__call__`` names."""
    return _named(model, train=False, deterministic=True)


def train_arguments(
    model: nn.Module, dropout: Dropout | None, axis_name: str | None
) -> dict[str, Any]:
    """Lists the arguments of training that the model's ``__call__`` names.

    Args:
      model: The model.
      dropout: How to drop activations; None if the config does not ask for it.
      axis_name: The mapped axis along which devices share the batch, if any.

    Returns:
      Those of ``train=True``, ``deterministic=False``, ``dropout`` and ``axis_name``.
    """
    return _named(
        model, train=True, deterministic=False, dropout=dropout, axis_name=axis_name
    )


def _named(model: nn.Module, **offered: Any) -> dict[str, Any]:
    names = inspect.signature(type(model).__call__).parameters
    return {name: value for name, value in offered.items() if name in names}
