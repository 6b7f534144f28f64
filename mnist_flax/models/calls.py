"""The arguments, beside the images, with which any linen model is called."""

import inspect
from typing import Any

import flax.linen as nn

from mnist_flax.models.cnn import Dropout


def eval_arguments(model: nn.Module) -> dict[str, Any]:
    """Lists what the model's ``__call__`` takes of ``train=False, deterministic=True``."""
    return _accepted(model, train=False, deterministic=True)


def train_arguments(
    model: nn.Module, dropout: Dropout | None, axis_name: str
) -> dict[str, Any]:
    """Lists what the model's ``__call__`` takes of the arguments of training.

    Args:
      model: The model.
      dropout: How to drop activations; None if the config does not ask for it.
      axis_name: The mapped axis along which devices share the batch.

    Returns:
      Of ``train=True``, ``deterministic=False``, ``dropout`` and ``axis_name`` those that
      the model names.
    """
    return _accepted(
        model, train=True, deterministic=False, dropout=dropout, axis_name=axis_name
    )


def _accepted(model: nn.Module, **offered: Any) -> dict[str, Any]:
    taken = inspect.signature(type(model).__call__).parameters
    return {name: value for name, value in offered.items() if name in taken}
