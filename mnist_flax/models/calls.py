"""Which arguments, beside the images, a linen model is called with."""

import inspect
from typing import Any

import flax.linen as nn

from mnist_flax.models.cnn import Dropout


def eval_arguments(model: nn.Module) -> dict[str, Any]:
    """Lists those of ``train=False, deterministic=True`` that ``__call__`` names."""
    return _named(model, train=False, deterministic=True)


def train_arguments(
    model: nn.Module, dropout: Dropout | None, axis_name: str
) -> dict[str, Any]:
    """Lists the arguments of training that the model's ``__call__`` names.

    Args:
      model: The model.
      dropout: How to drop activations; None if the config does not ask for it.
      axis_name: The mapped axis along which devices share the batch.

    Returns:
      Those of ``train=True``, ``deterministic=False``, ``dropout`` and ``axis_name``.
    """
    return _named(
        model, train=True, deterministic=False, dropout=dropout, axis_name=axis_name
    )


def _named(model: nn.Module, **offered: Any) -> dict[str, Any]:
    names = inspect.signature(type(model).__call__).parameters
    return {name: value for name, value in offered.items() if name in names}
