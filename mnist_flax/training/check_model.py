"""Whether a model and an augmentation fit the data and the memory."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mnist_flax.data.datasets import datasets
from mnist_flax.models.cnn import cnn
from mnist_flax.training import run
from mnist_flax.common.errors import UserError, require


def check_fit(
    recipe: run.Recipe, used: Sequence[str], dataset: datasets.Dataset, memory: float
) -> None:
    """Calls the model and the augmentation, without computing anything.

    Args:
      recipe: Holds both.
      used: Names of the hyperparameters, see `run.TrainState`.
      dataset: What they are for.
      memory: Bytes on each device.

    Raises:
      UserError: One of them fails, gives another shape than it should, or the network is
        too large.
    """
    num_classes = len(dataset.class_names)
    images = jax.ShapeDtypeStruct((2, *datasets.IMAGE_SHAPE), 'float32')

    def forward(images: Any) -> Any:
        keys = jax.random.split(jax.random.key(0), 2)
        dropout = cnn.Dropout(keys, jnp.float32(0)) if 'dropout_rate' in used else None
        variables = recipe.model.init(keys[0], images)
        logits, _ = recipe.model.apply(
            variables, images, train=False, dropout=dropout, mutable=['batch_stats']
        )
        return logits, variables

    logits, variables = _try(forward, images, 'config.model')
    sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(variables)]
    # The least that training takes: 4 bytes for each, its gradient and two moments.
    needed = 16 * sum(sizes)
    require(
        needed <= memory,
        f'config.model: found {sum(sizes):,} parameters, which take {needed / 2**30:,.1f} '
        f'GiB with gradients and moments; allowed: what {memory / 2**30:.1f} GiB hold',
    )
    require(
        logits.shape == (2, num_classes),
        f'config.model: found logits of shape {logits.shape} for 2 images; allowed: '
        f'num_classes = {num_classes} for each, as many as {dataset.full_name} has',
    )
    transform = recipe.augment
    if transform is not None:

        def change(images: Any) -> Any:
            keys = jax.random.split(jax.random.key(0), 2)
            return jax.vmap(transform, (0, 0, None))(keys, images, jnp.float32(1))

        changed = _try(change, images, 'config.augment')
        require(
            changed.shape == images.shape,
            f'config.augment: found images of shape {changed.shape[1:]} after the '
            f'augmentation; allowed: {datasets.IMAGE_SHAPE}',
        )


def _try(function: Callable[..., Any], images: Any, path: str) -> Any:
    try:
        return jax.eval_shape(function, images)
    except Exception as error:  # the code is a user's, who may have made any mistake
        message = ' '.join(str(error).split())[:300]
        raise UserError(
            f'{path}: found a function that fails ({type(error).__name__}: {message}); '
            'allowed: one that can be called as in README.md, "Add"'
        ) from error
