"""Whether a model and an augmentation fit the data and the memory."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mnist_flax.common.errors import UserError, require
from mnist_flax.data import datasets
from mnist_flax.models import calls
from mnist_flax.training import run
from mnist_flax.training.devices import DATA


def check_recipe(
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
    model = recipe.model
    images = jax.ShapeDtypeStruct((2, *datasets.IMAGE_SHAPE), 'float32')

    def evaluate(images: Any) -> Any:
        arguments = calls.eval_arguments(model)
        variables = model.init(jax.random.key(0), images, **arguments)
        return model.apply(variables, images, **arguments), variables

    logits, variables = _try(evaluate, images, 'config.model')
    sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(variables)]
    # The least that training takes: 4 bytes for each, its gradient and two moments.
    needed = 16 * sum(sizes)
    require(
        needed <= memory,
        f'config.model: {sum(sizes):,} parameters take {needed / 2**30:,.1f} GiB with '
        f'gradients and moments, but there are only {memory / 2**30:.1f} GiB; make the '
        'model smaller',
    )
    _check_logits(logits, dataset, 'config.model')

    logits, state, new_state = _try(
        lambda images: _train(model, used, images), images, 'config.model, in training'
    )
    _check_logits(logits, dataset, 'config.model, in training')
    require(
        new_state == state,
        f'config.model: training turns its collections {_describe(state)} into '
        f'{_describe(new_state)}; they must keep their names, shapes and types',
    )
    transform = recipe.augment
    if transform is not None:

        def change(images: Any) -> Any:
            keys = jax.random.split(jax.random.key(0), 2)
            return jax.vmap(transform, (0, 0, None))(keys, images, jnp.float32(1))

        changed = _try(change, images, 'config.augment')
        require(
            changed.shape == images.shape,
            f'config.augment: images have the shape {changed.shape[1:]} after the '
            f'augmentation; they must keep {datasets.IMAGE_SHAPE}',
        )


def check_dropout_is_traced(recipes: Sequence[run.Recipe], used: Sequence[str]) -> None:
    """Checks that a model takes its dropout rate with each batch.

    Runs that differ in the rate share a program, in which a model that keeps the rate for
    itself would have that of the first run for all.

    Args:
      recipes: Those of a sweep over the rate.
      used: Names of the hyperparameters, see `run.TrainState`.

    Raises:
      UserError: The programs of the models differ.
    """
    images = jnp.zeros((2, *datasets.IMAGE_SHAPE))

    def trace(model: nn.Module) -> str:
        program = jax.make_jaxpr(lambda images: _train(model, used, images))(images)
        return re.sub('0x[0-9a-f]+', '', f'{program} {program.consts}')  # addresses

    takes_dropout = 'dropout' in calls.train_arguments(recipes[0].model, None, DATA)
    require(
        takes_dropout and len({trace(recipe.model) for recipe in recipes}) == 1,
        'config.sweep.dropout_rate: the model keeps its dropout rate for itself; only a '
        'model whose __call__ takes `dropout` with each batch can be swept',
    )


def _train(model: nn.Module, used: Sequence[str], images: Any) -> Any:
    """Calls a model in training; returns logits, and its collections before and after."""
    keys = jax.random.split(jax.random.key(0), 2)
    rate = jnp.float32(0) if 'dropout_rate' in used else None
    variables = dict(model.init(keys[0], images, **calls.eval_arguments(model)))
    state = {name: of for name, of in variables.items() if name != 'params'}
    logits, new_state = jax.vmap(  # a device of one
        lambda images: run.apply_in_training(model, variables, images, keys, rate),
        axis_name=DATA,
    )(images[None])
    return logits[0], state, jax.tree.map(lambda leaf: leaf[0], new_state)


def _check_logits(logits: Any, dataset: datasets.Dataset, path: str) -> None:
    num_classes = len(dataset.class_names)
    require(
        getattr(logits, 'shape', None) == (2, num_classes),
        f'{path}: the model returns {_describe(logits)} for 2 images; it must return '
        f'logits of shape (2, {num_classes}), as {dataset.full_name} has {num_classes} '
        'classes (config.model.num_classes)',
    )


def _describe(tree: Any) -> str:
    described = jax.tree.map(lambda leaf: f'{leaf.dtype}{list(leaf.shape)}', tree)
    return str(described).replace("'", '')


def _try(function: Callable[..., Any], images: Any, path: str) -> Any:
    try:
        return jax.eval_shape(function, images)
    except Exception as error:  # the code is a user's, who may have made any mistake
        message = ' '.join(str(error).split())[:300]
        raise UserError(
            f'{path}: calling it fails ({type(error).__name__}: {message}); docs/models.md '
            'says how a model and an augmentation are called'
        ) from error
